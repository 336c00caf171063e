"""The terms of training losses. A method chains some of them."""

from jax_uda.objectives.base import Objective as Objective
from jax_uda.objectives.base import Result as Result
from jax_uda.objectives.base import chain as chain
from jax_uda.objectives.class_contrast import class_contrast as class_contrast
from jax_uda.objectives.cross_entropy import cross_entropy as cross_entropy
from jax_uda.objectives.feature_distance import feature_distance as feature_distance
