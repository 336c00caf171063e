"""Masks random square patches of an image (MIC, Hoyer et al., 2023).

Masked patches become the mean color, which a network sees as 0. Golden: `base/mic_block_mask`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jax_uda.ops import resize
from jax_uda.ops.block_mask import draw as draw
from jax_uda.ops.block_mask import keep as keep


def apply(
  image: jax.Array, uniform: jax.Array, *, ratio: float, color: Sequence[float]
) -> jax.Array:
  """The image with masked patches.

  Args:
    image: [B, H, W, D] floats.
    uniform: [B, h, w] in [0, 1), as for `keep`.
    ratio: Expected fraction of patches that are masked.
    color: [D] the color of masked patches, in the units of the image: `Task.mean_color`.
  """
  kept = keep(uniform, resize.size_of(image), ratio=ratio)
  return jnp.where(kept[..., None], image, jnp.asarray(color, image.dtype))
