"""Kernels on arrays, stateless and pure: no flax, no config, no state.

Embeddings [..., A] with labels [...] are pixels, whatever the leading axes; labels outside 0..C-1
(255 = ignore) and pixels of weight 0 play no part; where nothing is valid, value and gradient are 0.
docs/losses.md derives the contrastive ones from each other.
"""

from jax_uda.losses.bank_contrast import bank_cross_entropy as bank_cross_entropy
from jax_uda.losses.centroid_contrast import centroid_cross_entropy as centroid_cross_entropy
from jax_uda.losses.consistency import entropy as entropy
from jax_uda.losses.consistency import kl_consistency as kl_consistency
from jax_uda.losses.contrast_grid import FusedGrid as FusedGrid
from jax_uda.losses.contrast_grid import fused_grid as fused_grid
from jax_uda.losses.cross_entropy import weighted_cross_entropy as weighted_cross_entropy
from jax_uda.losses.feature_distance import feature_distance as feature_distance
from jax_uda.losses.image_classes import image_class_cross_entropy as image_class_cross_entropy
from jax_uda.losses.info_nce import info_nce as info_nce
from jax_uda.losses.info_nce import supervised_pixel_contrast as supervised_pixel_contrast
from jax_uda.losses.least_squares_gan import (
  least_squares_discriminator_loss as least_squares_discriminator_loss,
)
from jax_uda.losses.least_squares_gan import (
  least_squares_generator_loss as least_squares_generator_loss,
)
from jax_uda.losses.output_adversarial import (
  adversarial_discriminator_loss as adversarial_discriminator_loss,
)
from jax_uda.losses.output_adversarial import (
  adversarial_generator_loss as adversarial_generator_loss,
)
from jax_uda.losses.patch_nce import patch_nce as patch_nce
from jax_uda.losses.patch_nce import patch_nce_rows as patch_nce_rows
from jax_uda.losses.pixel_pairs import MultiresParts as MultiresParts
from jax_uda.losses.pixel_pairs import multires_pixel_contrast as multires_pixel_contrast
from jax_uda.losses.pixel_pairs import pixel_contrast as pixel_contrast
from jax_uda.losses.prototype_contrast import (
  distribution_cross_entropy as distribution_cross_entropy,
)
from jax_uda.losses.prototype_contrast import (
  mean_similarity_regularizer as mean_similarity_regularizer,
)
from jax_uda.losses.prototype_contrast import prototype_cross_entropy as prototype_cross_entropy
from jax_uda.losses.region_contrast import region_contrast as region_contrast
from jax_uda.losses.semantic_consistency import semantic_consistency as semantic_consistency
from jax_uda.ops.arrays import l2_normalize as l2_normalize
from jax_uda.ops.labels import correct_label as correct_label
from jax_uda.ops.labels import downscale_label as downscale_label
from jax_uda.ops.labels import image_classes as image_classes
from jax_uda.ops.labels import nearest_label as nearest_label
from jax_uda.ops.ramp import exponential_ramp as exponential_ramp
from jax_uda.ops.sampling import sample_valid as sample_valid
