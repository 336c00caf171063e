"""CONFETI's and CONFETII's class activation maps (Zhou et al., 2016), learned from the classes of an image."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.heads.levels import level_of
from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform
from jax_uda.models.protocols import Features


class CAMHead(nn.Module):
  """A 1x1 convolution on an encoder map.

  `losses.image_class_cross_entropy` trains it; the weight of a pixel for class k is the ReLU of
  its k-th map. Weights start as PyTorch's, because the reference never calls its own initialisation.
  Golden: `confeti/cam_head`, `confetii/cam_head`.

  Attributes:
    num_classes: Number of classes and of maps, K.
    level: The encoder map that it reads, by its position; -1 is the coarsest.
    use_bias: Whether the convolution has a bias (CONFETII).
    dtype: Compute dtype; parameters and maps are float32.
  """

  num_classes: int
  level: int = -1
  use_bias: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, fused: jax.Array | None = None, **mode: bool) -> jax.Array:
    """Maps one of the encoder maps to activations [B, h, w, K], before any ReLU."""
    feature = level_of(features, self.level)
    conv = nn.Conv(
      self.num_classes,
      (1, 1),
      use_bias=self.use_bias,
      kernel_init=TORCH_WEIGHTS,
      bias_init=torch_uniform(feature.shape[-1]),
      dtype=self.dtype,
      name="conv_cam",
    )
    return conv(feature).astype(jnp.float32)
