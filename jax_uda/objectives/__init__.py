"""The terms of training losses. A method has some of them, by name."""

from jax_uda.objectives._cam_prototypes import (
  Comparison,
  cam_prototypes,
  prototype_contrast,
  translation_consistency,
)
from jax_uda.objectives._class_contrast import class_contrast
from jax_uda.objectives._cross_entropy import cross_entropy
from jax_uda.objectives._entropy import entropy
from jax_uda.objectives._feature_distance import feature_distance
from jax_uda.objectives._foundation_distance import foundation_distance
from jax_uda.objectives._image_classes import image_classes
from jax_uda.objectives._level_prototypes import (
  level_consistency,
  level_contrast,
  level_prototypes,
)
from jax_uda.objectives._output_adversarial import output_adversarial
from jax_uda.objectives._pixel_contrast import pixel_contrast
from jax_uda.objectives._pixel_loss import pixel_loss
from jax_uda.objectives._region_consistency import region_consistency
from jax_uda.objectives._similarity_contrast import prototype_pass, similarity_contrast
from jax_uda.step.objective import Objective, Result, SourcePass, stateless

__all__ = [
  # How a term is written.
  "Objective",
  "Result",
  "SourcePass",
  "stateless",
  # Supervision by labels and pseudo-labels.
  "cross_entropy",
  "image_classes",
  # Contrasts with what stands for a class.
  "class_contrast",
  "similarity_contrast",
  "prototype_pass",
  "cam_prototypes",
  "Comparison",
  "prototype_contrast",
  "translation_consistency",
  "level_prototypes",
  "level_contrast",
  "level_consistency",
  # Contrasts between pixels and regions.
  "pixel_contrast",
  "pixel_loss",
  "region_consistency",
  # Alignment with another network.
  "feature_distance",
  "foundation_distance",
  "output_adversarial",
  # Predictions without labels.
  "entropy",
]
