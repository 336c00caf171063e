"""Layers of plain Vision Transformers: patch embedding, attention, feed-forward net, block.

The names of the submodules are those of DINOv2's checkpoints (`attn`, `mlp`, `ls1`, …).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import TORCH_WEIGHTS

EPSILON = 1e-6  # of every layer norm
# PyTorch's `trunc_normal_` cuts at +-2, which is 100 standard deviations here: a plain normal.
INIT = nn.initializers.normal(0.02)


def norm(dtype: DTypeLike, name: str) -> nn.LayerNorm:
  """A layer norm over channels."""
  # The fast variance E[x^2] - E[x]^2 loses digits.
  return nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, dtype=dtype, name=name)


def linear(features: int, dtype: DTypeLike, name: str) -> nn.Dense:
  """A linear layer with bias, whose weights start as N(0, 0.02^2)."""
  return nn.Dense(features, kernel_init=INIT, dtype=dtype, name=name)


class PatchEmbed(nn.Module):
  """A linear map of every patch of the image.

  Attributes:
    dim: Channels of a token, D.
    patch: Side of a patch in pixels, P.
    dtype: Compute dtype; parameters are float32.
  """

  dim: int
  patch: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """Maps [B, P h, P w, 3] to [B, h, w, D]."""
    return nn.Conv(
      self.dim,
      (self.patch, self.patch),
      strides=self.patch,
      padding="VALID",
      kernel_init=TORCH_WEIGHTS,
      dtype=self.dtype,
      name="proj",
    )(image)


class Attention(nn.Module):
  """Multi-head self-attention over all tokens.

  Attributes:
    num_heads: Attention heads; divides D.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps tokens [B, N, D] to the same shape."""
    batch, tokens, dim = x.shape
    qkv = linear(3 * dim, self.dtype, "qkv")(x)
    qkv = qkv.reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads)
    y = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    return linear(dim, self.dtype, "proj")(y.reshape(batch, tokens, dim))


class MLP(nn.Module):
  """Linear layer, GELU, linear layer.

  Attributes:
    hidden: Channels between the two layers.
    dtype: Compute dtype; parameters are float32.
  """

  hidden: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps tokens [B, N, D] to the same shape."""
    dim = x.shape[-1]
    x = nn.gelu(linear(self.hidden, self.dtype, "fc1")(x), approximate=False)
    return linear(dim, self.dtype, "fc2")(x)


class LayerScale(nn.Module):
  """A learned factor per channel (Touvron et al., 2021)."""

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., D] to the same shape."""
    return x * self.param("gamma", nn.initializers.ones, x.shape[-1:]).astype(self.dtype)


class Block(nn.Module):
  """Attention and feed-forward net, each after a norm, with a layer scale and a shortcut.

  Attributes:
    num_heads: Attention heads; divides D.
    mlp_ratio: Hidden channels of the feed-forward net, as a multiple of D.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  mlp_ratio: int = 4
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps tokens [B, N, D] to the same shape."""
    attention = Attention(self.num_heads, dtype=self.dtype, name="attn")
    y = attention(norm(self.dtype, "norm1")(x))
    x = x + LayerScale(self.dtype, name="ls1")(y)
    mlp = MLP(self.mlp_ratio * x.shape[-1], dtype=self.dtype, name="mlp")
    return x + LayerScale(self.dtype, name="ls2")(mlp(norm(self.dtype, "norm2")(x)))
