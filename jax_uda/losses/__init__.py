"""Stateless kernels on arrays: no flax, no config, no state."""

from jax_uda.losses.bank_contrast import bank_cross_entropy as bank_cross_entropy
from jax_uda.losses.centroid_contrast import centroid_cross_entropy as centroid_cross_entropy
from jax_uda.losses.consistency import entropy as entropy
from jax_uda.losses.consistency import kl_consistency as kl_consistency
from jax_uda.losses.cross_entropy import weighted_cross_entropy as weighted_cross_entropy
from jax_uda.losses.feature_distance import feature_distance as feature_distance
from jax_uda.losses.info_nce import info_nce as info_nce
from jax_uda.losses.info_nce import supervised_pixel_contrast as supervised_pixel_contrast
from jax_uda.losses.label_grid import downscale_label as downscale_label
from jax_uda.losses.prototype_contrast import (
  distribution_cross_entropy as distribution_cross_entropy,
)
from jax_uda.losses.prototype_contrast import (
  mean_similarity_regularizer as mean_similarity_regularizer,
)
from jax_uda.losses.prototype_contrast import prototype_cross_entropy as prototype_cross_entropy
