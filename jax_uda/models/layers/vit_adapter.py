"""The parts of ViT-Adapter (Chen et al., 2023): a convolutional branch, and exchange with the ViT's tokens.

The branch's maps at strides 8, 16 and 32 are one sequence of tokens, level by level, rows first. Module
names follow the released checkpoints of VFM-UDA++. Goldens: `vfm_plus/spatial_prior`,
`vfm_plus/vit_adapter_tiny`.
"""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jax_uda.models.layers import vit
from jax_uda.models.layers.conv_module import CONV_INIT
from jax_uda.models.layers.deformable import DeformableAttention, grid_references
from jax_uda.models.layers.depthwise import DepthwiseConv
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.models.protocols import Size

EPSILON = 1e-5  # of the layer norms here; the ViT has its own
MOMENTUM = 0.01  # of all BatchNorms of VFM-UDA++


def batch_norm(dtype: DTypeLike, name: str) -> BatchNorm:
  """A BatchNorm of the adapter."""
  return BatchNorm(momentum=MOMENTUM, dtype=dtype, name=name)


def to_tokens(maps: Sequence[jax.Array]) -> jax.Array:
  """Joins maps [B, h_i, w_i, D] to one sequence [B, sum of h_i w_i, D]."""
  return jnp.concatenate([x.reshape(len(x), -1, x.shape[-1]) for x in maps], 1)


def to_maps(tokens: jax.Array, sizes: Sequence[Size]) -> list[jax.Array]:
  """Splits a sequence [B, N, D] into the maps [B, h_i, w_i, D] of `to_tokens`."""
  ends = list(itertools.accumulate(height * width for height, width in sizes))
  parts = jnp.split(tokens, ends[:-1], axis=1)
  return [
    part.reshape(len(tokens), *size, tokens.shape[-1])
    for part, size in zip(parts, sizes, strict=True)
  ]


class SpatialPrior(nn.Module):
  """The convolutional branch: maps of the image at strides 4, 8, 16 and 32.

  Attributes:
    dim: Channels of the maps, D.
    width: Channels of the stem.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  dim: int
  width: int = 64
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array, *, use_running_average: bool) -> list[jax.Array]:
    """Maps [B, H, W, 3] to four maps, [B, H / 4, W / 4, D] and so on; sides are multiples of 32."""

    def conv(x: jax.Array, features: int, stride: int, name: str, norm: str) -> jax.Array:
      x = nn.Conv(
        features,
        (3, 3),
        strides=stride,
        padding=((1, 1), (1, 1)),
        use_bias=False,
        kernel_init=CONV_INIT,
        dtype=self.dtype,
        name=name,
      )(x)
      x = batch_norm(self.dtype, norm)(x, use_running_average=use_running_average)
      return nn.relu(x)

    x = image.astype(self.dtype)
    for number, stride in enumerate((2, 1, 1)):
      # The numbers of PyTorch's list of convolution, norm and ReLU.
      x = conv(x, self.width, stride, f"stem_{3 * number}", f"stem_{3 * number + 1}")
    x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # type: ignore[arg-type]
    maps = [x]
    for level, factor in ((2, 2), (3, 4), (4, 4)):
      maps.append(conv(maps[-1], factor * self.width, 2, f"conv{level}_0", f"conv{level}_1"))
    project = lambda level: nn.Conv(
      self.dim, (1, 1), kernel_init=CONV_INIT, dtype=self.dtype, name=f"fc{level}"
    )
    return [project(level)(x) for level, x in enumerate(maps, 1)]


class ConvFFN(nn.Module):
  """A feed-forward net with a depthwise convolution, whose kernel all levels share.

  Attributes:
    hidden: Channels between the linear layers.
    dtype: Compute dtype; parameters are float32.
  """

  hidden: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, tokens: jax.Array, sizes: Sequence[Size]) -> jax.Array:
    """Maps the tokens [B, N, D] of maps of `sizes` to the same shape."""
    dim = tokens.shape[-1]
    x = vit.linear(self.hidden, self.dtype, "fc1")(tokens)
    # Variance 2 / k^2, as the reference counts a depthwise convolution's outputs.
    kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")
    conv = DepthwiseConv(kernel_init=kernel_init, dtype=self.dtype, name="dwconv")
    x = to_tokens([conv(x) for x in to_maps(x, sizes)])
    return vit.linear(dim, self.dtype, "fc2")(nn.gelu(x, approximate=False))


class Injector(nn.Module):
  """Adds what the branch's maps hold to the ViT's patch tokens, by a factor that starts at 0.

  Attributes:
    num_heads: Heads of the deformable attention.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, c: jax.Array, grid: Size, sizes: Sequence[Size]) -> jax.Array:
    """Maps patch tokens [B, h w, D] of `grid`, given the branch's tokens [B, N, D], to the same shape."""
    norm = lambda name: vit.norm(self.dtype, name, EPSILON)
    attend = DeformableAttention(self.num_heads, dtype=self.dtype, name="attn")
    y = attend(norm("query_norm")(x), norm("feat_norm")(c), sizes, grid_references(grid))
    gamma = self.param("gamma", nn.initializers.zeros, x.shape[-1:])
    return x + gamma.astype(self.dtype) * y


class Extractor(nn.Module):
  """Adds what the ViT's patch tokens hold to the branch's tokens.

  Attributes:
    num_heads: Heads of the deformable attention.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, c: jax.Array, x: jax.Array, grid: Size, sizes: Sequence[Size]) -> jax.Array:
    """Maps the branch's tokens [B, N, D], given patch tokens [B, h w, D] of `grid`, to the same shape."""
    norm = lambda name: vit.norm(self.dtype, name, EPSILON)
    references = np.concatenate([grid_references(size) for size in sizes])
    attend = DeformableAttention(self.num_heads, dtype=self.dtype, name="attn")
    c = c + attend(norm("query_norm")(c), norm("feat_norm")(x), [grid], references)
    ffn = ConvFFN(c.shape[-1] // 4, dtype=self.dtype, name="ffn")
    return c + ffn(norm("ffn_norm")(c), sizes)
