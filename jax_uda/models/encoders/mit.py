"""Mix Transformer (MiT), the hierarchical encoder of SegFormer (Xie et al., 2021).

Each of its four stages has an overlapping patch embedding, blocks of spatially reduced attention
and a feed-forward net with a depthwise convolution, and a norm at its end. Module names follow the
official checkpoints (`block1_0` here is `block1.0` there). Goldens: `base/mit_tiny`,
`base/mit_tiny_eps`.
"""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jax_uda.models.encoders import imagenet
from jax_uda.models.layers import attention, block_stack
from jax_uda.models.layers.depthwise import DepthwiseConv
from jax_uda.models.protocols import Features, Options

# PyTorch's `trunc_normal_` cuts at +-2, which is 100 standard deviations here: a plain normal.
LINEAR_INIT = nn.initializers.normal(0.02)
# Variance 2 / (k * k * out).
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
BLOCK_EPS = 1e-6  # norms of blocks and stages
CONV_EPS = 1e-5  # norms after the patch embedding and after the reducing convolution


def _norm(epsilon: float, dtype: DTypeLike, name: str) -> nn.LayerNorm:
  # The fast variance E[x^2] - E[x]^2 loses digits where the official eps matters.
  return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=dtype, name=name)


def _linear(features: int, dtype: DTypeLike, name: str) -> nn.Dense:
  return nn.Dense(features, kernel_init=LINEAR_INIT, dtype=dtype, name=name)


class PatchEmbed(nn.Module):
  """A strided convolution with overlapping windows, then a norm.

  Attributes:
    dim: Channels of the result.
    kernel_size: Side of the window, odd.
    stride: Distance of the windows.
    dtype: Compute dtype; parameters are float32.
  """

  dim: int
  kernel_size: int
  stride: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to [B, ceil(H / stride), ceil(W / stride), dim]."""
    pad = (self.kernel_size // 2, self.kernel_size // 2)
    x = nn.Conv(
      self.dim,
      (self.kernel_size, self.kernel_size),
      strides=self.stride,
      padding=(pad, pad),
      kernel_init=CONV_INIT,
      dtype=self.dtype,
      name="proj",
    )(x)
    return _norm(CONV_EPS, self.dtype, "norm")(x)


class Attention(nn.Module):
  """Multi-head attention whose keys and values come from a smaller map.

  Attributes:
    num_heads: Attention heads; divides D.
    sr_ratio: Factor by which the map is reduced for keys and values.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  sr_ratio: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to the same shape."""
    batch, height, width, dim = x.shape
    reduced = x
    if self.sr_ratio > 1:
      ratio = (self.sr_ratio,) * 2
      # VALID: rows and columns that do not fill a window are dropped.
      reduce = nn.Conv(
        dim, ratio, ratio, padding="VALID", kernel_init=CONV_INIT, dtype=self.dtype, name="sr"
      )
      reduced = _norm(CONV_EPS, self.dtype, "norm")(reduce(x))
    keys_and_values = _linear(2 * dim, self.dtype, "kv")(reduced)
    split = lambda t: t.reshape(batch, -1, self.num_heads, dim // self.num_heads)
    y = attention.attend(
      split(_linear(dim, self.dtype, "q")(x)),
      split(keys_and_values[..., :dim]),
      split(keys_and_values[..., dim:]),
    )
    return _linear(dim, self.dtype, "proj")(y.reshape(batch, height, width, dim))


class MixFFN(nn.Module):
  """Linear layer, depthwise 3x3 convolution, GELU, linear layer.

  Attributes:
    hidden: Channels between the linear layers.
    depthwise: How the depthwise convolution is computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters are float32.
  """

  hidden: int
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to the same shape."""
    dim = x.shape[-1]
    x = _linear(self.hidden, self.dtype, "fc1")(x)
    x = DepthwiseConv(
      method=self.depthwise,
      kernel_init=nn.initializers.normal(math.sqrt(2 / 9)),  # groups divided out
      dtype=self.dtype,
      name="dwconv",
    )(x)
    return _linear(dim, self.dtype, "fc2")(nn.gelu(x, approximate=False))


class DropPath(nn.Module):
  """Stochastic depth: zeroes whole samples with probability `rate` and scales the others up."""

  @nn.compact
  def __call__(self, x: jax.Array, rate: jax.Array | float) -> jax.Array:
    """Maps [B, ...] to the same shape; `rate` in [0, 1) may be traced, unlike in `nn.Dropout`."""
    shape = (x.shape[0],) + (1,) * (x.ndim - 1)
    keep = jax.random.bernoulli(self.make_rng("dropout"), 1 - rate, shape)
    return jnp.where(keep, x / jnp.asarray(1 - rate, x.dtype), 0)


class Block(nn.Module):
  """Attention and feed-forward net, each after a norm, with a shortcut and its own drop-path draw.

  Attributes:
    num_heads: Attention heads; divides D.
    sr_ratio: Factor by which the map is reduced for keys and values.
    mlp_ratio: Hidden channels of the feed-forward net, as a multiple of D.
    depthwise: How the depthwise convolution is computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  sr_ratio: int
  mlp_ratio: int
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, drop_path: jax.Array | float = 0.0, *, train: bool) -> jax.Array:
    """Maps [B, H, W, D] to the same shape; `drop_path` is the rate in training."""
    never = not train or (isinstance(drop_path, float) and drop_path == 0)
    drop = lambda y: y if never else DropPath()(y, drop_path)
    attend = Attention(self.num_heads, self.sr_ratio, dtype=self.dtype, name="attn")
    x = x + drop(attend(_norm(BLOCK_EPS, self.dtype, "norm1")(x)))
    mlp = MixFFN(self.mlp_ratio * x.shape[-1], self.depthwise, dtype=self.dtype, name="mlp")
    return x + drop(mlp(_norm(BLOCK_EPS, self.dtype, "norm2")(x)))


class MixTransformer(nn.Module):
  """The encoder; its four maps have strides 4, 8, 16 and 32 (sizes rounded up).

  Attributes:
    embed_dims: Number of channels per stage.
    num_heads: Number of attention heads per stage.
    depths: Number of blocks per stage.
    sr_ratios: Factor per stage by which the map is reduced for keys and values.
    mlp_ratio: Hidden channels of the feed-forward nets, as a multiple of the outer ones.
    drop_path: Drop-path rate of the last block; it grows linearly from 0 at the first.
    depthwise: How depthwise convolutions are computed, see `DepthwiseConv`.
    scan_blocks: Whether each stage compiles as a loop over its blocks, see `block_stack.run`; "auto": on
      accelerators.
    remat: Whether the backward pass computes each block again to save memory.
    dtype: Compute dtype; parameters are float32.
  """

  image_mean = imagenet.MEAN
  image_std = imagenet.STD
  tiny: ClassVar[Options] = {
    "embed_dims": (8, 8, 16, 16),
    "num_heads": (1, 1, 2, 2),
    "depths": (1, 1, 1, 1),
  }

  embed_dims: tuple[int, int, int, int] = (32, 64, 160, 256)
  num_heads: tuple[int, int, int, int] = (1, 2, 5, 8)
  depths: tuple[int, int, int, int] = (2, 2, 2, 2)
  sr_ratios: tuple[int, int, int, int] = (8, 4, 2, 1)
  mlp_ratio: int = 4
  drop_path: float = 0.1
  depthwise: str = "auto"
  scan_blocks: bool | str = "auto"
  remat: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the maps of image [B,H,W,3], fine to coarse, each after its stage's norm."""
    del use_running_average  # no BatchNorm
    rates = np.linspace(0, self.drop_path, sum(self.depths)).tolist()
    call = lambda block, x, rate: block(x, rate, train=train)
    x, maps = image.astype(self.dtype), []
    for i, dim in enumerate(self.embed_dims):
      kernel_size, stride = (7, 4) if i == 0 else (3, 2)
      x = PatchEmbed(dim, kernel_size, stride, dtype=self.dtype, name=f"patch_embed{i + 1}")(x)
      blocks = [
        Block(
          num_heads=self.num_heads[i],
          sr_ratio=self.sr_ratios[i],
          mlp_ratio=self.mlp_ratio,
          depthwise=self.depthwise,
          dtype=self.dtype,
          name=f"block{i + 1}_{j}",
        )
        for j in range(self.depths[i])
      ]
      first = sum(self.depths[:i])
      x = block_stack.run(
        self,
        blocks,
        x,
        call,
        rates[first : first + len(blocks)],
        scan=block_stack.scans(self.scan_blocks),
        remat=self.remat,
      )
      x = _norm(BLOCK_EPS, self.dtype, f"norm{i + 1}")(x)
      maps.append(x)
    return tuple(maps)


WIDE = (64, 128, 320, 512)
SIZES: dict[str, Options] = {
  "mit_b0": {},
  "mit_b1": {"embed_dims": WIDE},
  "mit_b2": {"embed_dims": WIDE, "depths": (3, 4, 6, 3)},
  "mit_b3": {"embed_dims": WIDE, "depths": (3, 4, 18, 3)},
  "mit_b4": {"embed_dims": WIDE, "depths": (3, 8, 27, 3)},
  "mit_b5": {"embed_dims": WIDE, "depths": (3, 6, 40, 3)},
}
