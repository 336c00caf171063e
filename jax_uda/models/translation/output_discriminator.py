"""The discriminator of segmentation maps (AdaptSegNet, Tsai et al., CVPR 2018; SPCL's warm-up)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import torch_uniform


class OutputDiscriminator(nn.Module):
  """Five 4x4 convolutions of stride 2 that tell target predictions from source predictions.

  Attributes:
    width: Channels of the first convolution; the next three have 2, 4 and 8 times as many.
    dtype: Compute dtype; parameters and logits are float32.
  """

  width: int = 64
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, probability: jax.Array) -> jax.Array:
    """Maps class probabilities [B,H,W,C] to target logits [B, H // 32, W // 32, 1].

    Raises:
      ValueError: H or W is below 32.
    """
    x = probability
    if min(x.shape[1:3]) < 32:
      raise ValueError(f"probability has shape {x.shape}; H and W must be at least 32")
    for level in range(4):
      x = self._conv(x, self.width * 2**level, f"conv{level + 1}", self.dtype)
      x = nn.leaky_relu(x, 0.2)
    return self._conv(x, 1, "classifier", jnp.float32)

  def _conv(self, x: jax.Array, features: int, name: str, dtype: DTypeLike) -> jax.Array:
    init = torch_uniform(16 * x.shape[-1])
    return nn.Conv(
      features,
      (4, 4),
      strides=2,
      padding=((1, 1), (1, 1)),
      kernel_init=init,
      bias_init=init,
      dtype=dtype,
      name=name,
    )(x)
