"""Stateless kernels on arrays: no flax, no config, no state."""

from jax_uda.losses.cross_entropy import weighted_cross_entropy as weighted_cross_entropy
from jax_uda.losses.feature_distance import feature_distance as feature_distance
from jax_uda.losses.label_grid import downscale_label as downscale_label
