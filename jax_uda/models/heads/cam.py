"""CONFETI's class activation maps (Zhou et al., 2016), learned from the classes of an image."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import TORCH_WEIGHTS
from jax_uda.models.protocols import Features


class CAMHead(nn.Module):
  """A 1x1 convolution without bias on the coarsest encoder map.

  `losses.image_class_cross_entropy` trains it; the weight of a pixel for class k is the ReLU of
  its k-th map. Weights start as PyTorch's, because the reference never calls its own initialisation.
  Golden: `confeti/cam_head`.

  Attributes:
    num_classes: Number of classes and of maps, K.
    dtype: Compute dtype; parameters and maps are float32.
  """

  num_classes: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, fused: jax.Array | None = None, **mode: bool) -> jax.Array:
    """Maps the coarsest of the encoder maps to activations [B, h, w, K], before any ReLU."""
    conv = nn.Conv(
      self.num_classes,
      (1, 1),
      use_bias=False,
      kernel_init=TORCH_WEIGHTS,
      dtype=self.dtype,
      name="conv_cam",
    )
    return conv(features[-1]).astype(jnp.float32)
