"""CONFETI's class activation maps (Zhou et al., 2016), learnt from which classes an image holds."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.models.layers.initializers import TORCH_WEIGHTS


class CAMHead(nn.Module):
  """A 1x1 convolution without bias on the coarsest encoder map.

  `losses.image_class_cross_entropy` trains it; the weight of a pixel for class k is the ReLU of
  its k-th map. Weights start as PyTorch's: the reference's own request is never carried out.
  Golden: `confeti/cam_head`.

  Attributes:
    num_classes: Maps, K.
    dtype: Compute dtype; parameters and maps are float32.
  """

  num_classes: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    features: Sequence[jax.Array],
    fused: jax.Array | None,
    *,
    train: bool,
    use_running_average: bool,
  ) -> jax.Array:
    """Encoder maps, fine to coarse -> activations [B, h, w, K] before any ReLU."""
    del fused, train, use_running_average  # parallel to the decoder; no dropout, no BatchNorm
    conv = nn.Conv(
      self.num_classes,
      (1, 1),
      use_bias=False,
      kernel_init=TORCH_WEIGHTS,
      dtype=self.dtype,
      name="conv_cam",
    )
    return conv(features[-1]).astype(jnp.float32)
