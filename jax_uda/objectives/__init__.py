"""The terms of training losses. A method chains some of them."""

from jax_uda.objectives._cam_prototypes import cam_prototypes as cam_prototypes
from jax_uda.objectives._cam_prototypes import prototype_contrast as prototype_contrast
from jax_uda.objectives._cam_prototypes import translation_consistency as translation_consistency
from jax_uda.objectives._class_contrast import class_contrast as class_contrast
from jax_uda.objectives._cross_entropy import cross_entropy as cross_entropy
from jax_uda.objectives._feature_distance import feature_distance as feature_distance
from jax_uda.objectives._image_classes import image_classes as image_classes
from jax_uda.objectives._output_adversarial import output_adversarial as output_adversarial
from jax_uda.objectives._pixel_contrast import pixel_contrast as pixel_contrast
from jax_uda.objectives._region_consistency import region_consistency as region_consistency
from jax_uda.objectives._similarity_contrast import prototype_survey as prototype_survey
from jax_uda.objectives._similarity_contrast import similarity_contrast as similarity_contrast
from jax_uda.step.objective import Objective as Objective
from jax_uda.step.objective import Result as Result
from jax_uda.step.objective import Survey as Survey
from jax_uda.step.objective import chain as chain
