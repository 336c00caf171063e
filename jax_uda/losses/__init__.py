"""Kernels on arrays, stateless and pure: no flax, no config, no state.

Embeddings [..., A] with labels [...] are pixels, whatever the leading axes; labels outside 0..C-1
(255 = ignore) and pixels of weight 0 play no part; where nothing is valid, value and gradient are 0.
docs/losses.md derives the contrastive ones from each other.
"""

from jax_uda.losses._adversarial import (
  adversarial_discriminator_loss as adversarial_discriminator_loss,
)
from jax_uda.losses._adversarial import adversarial_generator_loss as adversarial_generator_loss
from jax_uda.losses._adversarial import (
  least_squares_discriminator_loss as least_squares_discriminator_loss,
)
from jax_uda.losses._adversarial import least_squares_generator_loss as least_squares_generator_loss
from jax_uda.losses._bank_contrast import bank_cross_entropy as bank_cross_entropy
from jax_uda.losses._consistency import entropy as entropy
from jax_uda.losses._consistency import feature_distance as feature_distance
from jax_uda.losses._consistency import kl_consistency as kl_consistency
from jax_uda.losses._consistency import semantic_consistency as semantic_consistency
from jax_uda.losses._cross_entropy import image_class_cross_entropy as image_class_cross_entropy
from jax_uda.losses._cross_entropy import weighted_cross_entropy as weighted_cross_entropy
from jax_uda.losses._info_nce import info_nce as info_nce
from jax_uda.losses._info_nce import supervised_pixel_contrast as supervised_pixel_contrast
from jax_uda.losses._patch_nce import patch_nce as patch_nce
from jax_uda.losses._patch_nce import patch_nce_rows as patch_nce_rows
from jax_uda.losses._pixel_contrast import MultiresParts as MultiresParts
from jax_uda.losses._pixel_contrast import multires_pixel_contrast as multires_pixel_contrast
from jax_uda.losses._pixel_contrast import pixel_contrast as pixel_contrast
from jax_uda.losses._pixel_contrast_grid import FusedGrid as FusedGrid
from jax_uda.losses._pixel_contrast_grid import fused_grid as fused_grid
from jax_uda.losses._prototype_contrast import centroid_cross_entropy as centroid_cross_entropy
from jax_uda.losses._prototype_contrast import (
  distribution_cross_entropy as distribution_cross_entropy,
)
from jax_uda.losses._prototype_contrast import (
  mean_similarity_regularizer as mean_similarity_regularizer,
)
from jax_uda.losses._prototype_contrast import prototype_cross_entropy as prototype_cross_entropy
from jax_uda.losses._region_contrast import region_contrast as region_contrast
from jax_uda.ops.arrays import l2_normalize as l2_normalize
from jax_uda.ops.labels import correct_label as correct_label
from jax_uda.ops.labels import downscale_label as downscale_label
from jax_uda.ops.labels import image_classes as image_classes
from jax_uda.ops.labels import nearest_label as nearest_label
from jax_uda.ops.ramp import exponential_ramp as exponential_ramp
from jax_uda.ops.sampling import sample_valid as sample_valid
