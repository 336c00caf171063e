"""Layers of plain Vision Transformers: patch embedding, attention, feed-forward net, block.

The names of the submodules are those of DINOv2's checkpoints (`attn`, `mlp`, `ls1`, …).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers import attention, rotary
from jax_uda.models.layers.initializers import TORCH_WEIGHTS

EPSILON = 1e-6  # of the layer norms, but for DINOv3's
# PyTorch's `trunc_normal_` cuts at +-2, which is 100 standard deviations here: a plain normal.
INIT = nn.initializers.normal(0.02)


def norm(dtype: DTypeLike, name: str, epsilon: float = EPSILON) -> nn.LayerNorm:
  """A layer norm over channels."""
  # The fast variance E[x^2] - E[x]^2 loses digits.
  return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)


def linear(features: int, dtype: DTypeLike, name: str, *, bias: bool = True) -> nn.Dense:
  """A linear layer, whose weights start as N(0, 0.02^2)."""
  return nn.Dense(features, use_bias=bias, kernel_init=INIT, dtype=dtype, name=name)


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
    key_bias: Whether the keys have a bias. Without it, as in DINOv3, the biases of queries and values
      are the parameters `q_bias` and `v_bias`.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  key_bias: bool = True
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, rotation: rotary.Rotation | None = None) -> jax.Array:
    """Maps tokens [B, N, D] to the same shape; `rotation` turns the queries and keys of patches."""
    batch, tokens, dim = x.shape
    qkv = linear(3 * dim, self.dtype, "qkv", bias=self.key_bias)(x)
    if not self.key_bias:
      bias = lambda name: self.param(name, nn.initializers.zeros, (dim,))
      joined = jnp.concatenate([bias("q_bias"), jnp.zeros(dim), bias("v_bias")])
      qkv = qkv + joined.astype(self.dtype)
    qkv = qkv.reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads)
    query, key, value = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    if rotation is not None:
      query, key = rotary.rotate(query, rotation), rotary.rotate(key, rotation)
    y = attention.attend(query, key, value)
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


class SwiGLU(nn.Module):
  """A gated feed-forward net, `w3(silu(w1 x) * w2 x)`.

  Attributes:
    hidden: Channels of the gate.
    dtype: Compute dtype; parameters are float32.
  """

  hidden: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps tokens [B, N, D] to the same shape."""
    gate = nn.silu(linear(self.hidden, self.dtype, "w1")(x))
    return linear(x.shape[-1], self.dtype, "w3")(gate * linear(self.hidden, self.dtype, "w2")(x))


def gated_width(dim: int, ratio: float) -> int:
  """Hidden channels of a `SwiGLU` with about the parameters of an `MLP`, a multiple of 8."""
  return -(-int(ratio * dim * 2 / 3) // 8) * 8


class LayerScale(nn.Module):
  """A learned factor per channel (Touvron et al., 2021).

  Attributes:
    start: Initial value of all factors.
    dtype: Compute dtype; parameters are float32.
  """

  start: float = 1.0
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [..., D] to the same shape."""
    start = nn.initializers.constant(self.start)
    return x * self.param("gamma", start, x.shape[-1:]).astype(self.dtype)


class Block(nn.Module):
  """Attention and feed-forward net, each after a norm, with a layer scale and a shortcut.

  Attributes:
    num_heads: Attention heads; divides D.
    mlp_ratio: Hidden channels of the feed-forward net, as a multiple of D; of a gated one before the
      rule of `gated_width`.
    gated: Whether the feed-forward net is a `SwiGLU`.
    key_bias: Whether the keys of the attention have a bias.
    scale_start: Initial value of the layer scales.
    epsilon: Epsilon of the norms.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  mlp_ratio: float = 4
  gated: bool = False
  key_bias: bool = True
  scale_start: float = 1.0
  epsilon: float = EPSILON
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, rotation: rotary.Rotation | None = None) -> jax.Array:
    """Maps tokens [B, N, D] to the same shape; `rotation` is for the attention."""
    dim, dtype = x.shape[-1], self.dtype
    layer_norm = lambda name: norm(dtype, name, self.epsilon)
    scale = lambda name: LayerScale(self.scale_start, dtype, name=name)
    attend = Attention(self.num_heads, self.key_bias, dtype, name="attn")
    x = x + scale("ls1")(attend(layer_norm("norm1")(x), rotation))
    if self.gated:
      mlp = SwiGLU(gated_width(dim, self.mlp_ratio), dtype, name="mlp")
    else:
      mlp = MLP(int(self.mlp_ratio * dim), dtype, name="mlp")
    return x + scale("ls2")(mlp(layer_norm("norm2")(x)))
