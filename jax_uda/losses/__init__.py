"""Losses on arrays, stateless and pure: no flax, no config, no state.

Embeddings [..., A] with labels [...] are pixels, whatever the leading axes are. Labels outside 0..C-1
(255 = ignore) and pixels of weight 0 are left out. Where nothing is valid, value and gradient are 0.

Most losses take `reduction`: "mean", or "none" for the losses of the single pixels. Those are not
multiplied by `weights`, are 0 for pixels left out, and have the mean
`sum(weights * losses) / sum(weights)`; weights that are None are 1 for pixels that count. The catalogue
docs/losses.md lists all losses and derives the contrastive ones from each other.
"""

from jax_uda.losses._adversarial import (
  adversarial_discriminator_loss,
  adversarial_generator_loss,
  least_squares_discriminator_loss,
  least_squares_generator_loss,
)
from jax_uda.losses._bank_contrast import bank_cross_entropy
from jax_uda.losses._consistency import (
  entropy,
  feature_distance,
  kl_consistency,
  semantic_consistency,
)
from jax_uda.losses._cross_entropy import image_class_cross_entropy, weighted_cross_entropy
from jax_uda.losses._foundation_distance import foundation_distance
from jax_uda.losses._info_nce import info_nce, supervised_pixel_contrast
from jax_uda.losses._patch_nce import patch_nce
from jax_uda.losses._pixel_contrast import MultiresParts, multires_pixel_contrast, pixel_contrast
from jax_uda.losses._pixel_contrast_grid import FusedGrid, fused_grid
from jax_uda.losses._prototype_contrast import (
  centroid_cross_entropy,
  distribution_cross_entropy,
  mean_similarity_regularizer,
  prototype_cross_entropy,
  soft_prototype_cross_entropy,
)
from jax_uda.losses._region_contrast import region_contrast
from jax_uda.ops.arrays import l2_normalize
from jax_uda.ops.labels import (
  correct_label,
  downscale_label,
  image_classes,
  nearest_label,
  soft_label,
)
from jax_uda.ops.ramp import exponential_ramp
from jax_uda.ops.sampling import sample_valid

__all__ = [
  # Supervised by labels.
  "image_class_cross_entropy",
  "weighted_cross_entropy",
  # Contrast of pixels with one representation per class.
  "bank_cross_entropy",
  "centroid_cross_entropy",
  "distribution_cross_entropy",
  "mean_similarity_regularizer",
  "prototype_cross_entropy",
  "soft_prototype_cross_entropy",
  # Contrast of pixels, regions or patches with each other.
  "info_nce",
  "multires_pixel_contrast",
  "patch_nce",
  "pixel_contrast",
  "region_contrast",
  "supervised_pixel_contrast",
  # Consistency of predictions and features.
  "entropy",
  "feature_distance",
  "foundation_distance",
  "kl_consistency",
  "semantic_consistency",
  # Adversarial: two networks at odds.
  "adversarial_discriminator_loss",
  "adversarial_generator_loss",
  "least_squares_discriminator_loss",
  "least_squares_generator_loss",
  # Beside the losses: what they compare, and how much they count.
  "FusedGrid",
  "MultiresParts",
  "correct_label",
  "downscale_label",
  "exponential_ramp",
  "fused_grid",
  "image_classes",
  "l2_normalize",
  "nearest_label",
  "sample_valid",
  "soft_label",
]
