"""The networks of CONFETII's translator: CUT's generator in two parts, and its patch embedding.

Golden: `confetii/generator`, `confetii/patchnce_minibatch`.
"""

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers import block_stack
from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform
from jax_uda.models.translation import layers
from jax_uda.models.translation.generator import ResidualBlock, check_sides


class SplitGenerator(nn.Module):
  """Translates standardised images; the maps of its encoder are those of PatchNCE.

  The encoder is the first part of `Generator`; the decoder begins with a 1x1 convolution. All parameters
  start as in PyTorch.

  Attributes:
    width: Channels at full resolution; there are twice as many at half and four times as many at a
      quarter of it.
    blocks: Number of the encoder's residual blocks.
    decoder_blocks: Number of the decoder's.
    nce_layers: Indices of the encoder's layers whose outputs are returned, ascending. As published: the
      padded image, two convolutions before their norm, and the last block.
    scan_blocks: Whether each row of blocks compiles as a loop, see `block_stack.run`.
    remat: Whether the backward pass computes each block again instead of storing its activations.
    dtype: Compute dtype; parameters, the returned image and instance statistics are float32.
  """

  width: int = 64
  blocks: int = 5
  decoder_blocks: int = 4
  nce_layers: tuple[int, ...] = (0, 4, 8, 16)
  scan_blocks: bool = False
  remat: bool = False
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Lists the layers; the index of a layer is its number in checkpoints and in `nce_layers`."""
    fine, middle, coarse = (self.width * factor for factor in (1, 2, 4))
    conv = lambda features, size, inputs, padding=0: layers.conv(
      features, size, padding=padding, dtype=self.dtype, torch_inputs=inputs
    )
    normed = lambda conv: [conv, layers.instance_norm(self.dtype), nn.relu]
    block = lambda: ResidualBlock(coarse, self.dtype, torch_init=True)
    self.model = [
      layers.reflect_pad(3),
      *normed(conv(fine, 7, 3)),
      *normed(conv(middle, 3, fine, padding=1)),
      layers.downsample,
      *normed(conv(coarse, 3, middle, padding=1)),
      layers.downsample,
      *(block() for _ in range(self.blocks)),
    ]
    self.decoder = [
      *normed(conv(coarse, 1, coarse)),
      *(block() for _ in range(self.decoder_blocks)),
      layers.upsample,
      *normed(conv(middle, 3, coarse, padding=1)),
      layers.upsample,
      *normed(conv(fine, 3, middle, padding=1)),
      layers.reflect_pad(3),
      conv(3, 7, fine),
      nn.tanh,
    ]

  def __call__(self, image: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """Translates images [B, H, W, 3], standardised as for ImageNet's encoders.

    Returns:
      The translations in [-1, 1], float32; and the encoder's maps of the images, as `encode`.

    Raises:
      ValueError: 4 does not divide H and W, or they are below 8, too small to be mirrored.
    """
    check_sides(image)
    x, maps = self._encoded(image)
    x = self._run(self.decoder, x)
    return x.astype(jnp.float32), maps

  def encode(self, image: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the maps of `nce_layers` of [B, H, W, 3]: `model.apply(…, method="encode")`.

    As published, their shapes are [B, H+6, W+6, 3], [B, H, W, 128], [B, H/2, W/2, 256] and
    [B, H/4, W/4, 256].
    """
    return self._encoded(image)[1]

  def _encoded(self, image: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
    """The encoder's output, and the maps of `nce_layers`."""
    x, maps, done = image.astype(self.dtype), [], 0
    for layer in self.nce_layers:
      x = self._run(self.model[done : layer + 1], x)
      maps.append(x)
      done = layer + 1
    return self._run(self.model[done:], x), tuple(maps)

  def _run(self, model: Sequence[Callable[[jax.Array], jax.Array]], x: jax.Array) -> jax.Array:
    """Passes x through some layers, rows of residual blocks in one go."""
    for is_block, members in itertools.groupby(
      model, lambda layer: isinstance(layer, ResidualBlock)
    ):
      row: list[Any] = list(members)
      if is_block:
        call = lambda block, x, _: block(x)
        options = dict(scan=self.scan_blocks, remat=self.remat)
        x = block_stack.run(self, row, x, call, [0.0] * len(row), **options)
      else:
        x = functools.reduce(lambda x, layer: layer(x), row, x)
    return x


class PatchProjection(nn.Module):
  """Two 1x1 convolutions with a ReLU between them, separate for each map, applied to drawn rows alone.

  Attributes:
    dim: Embedding dimension, A, which is also the hidden width.
    dtype: Compute dtype; parameters and embeddings are float32.
  """

  dim: int = 256
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, maps: Sequence[jax.Array], rows: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Embeds rows of maps [B, h_i, w_i, D_i]: unit vectors [P_i, A] for each map.

    Args:
      maps: The maps.
      rows: For each map [P_i] integers in 0..B h_i w_i - 1, flat over images, rows and columns.
    """
    embeddings = []
    for i, (x, places) in enumerate(zip(maps, rows, strict=True)):
      x = x.reshape(-1, 1, x.shape[-1])[places]
      x = nn.relu(self._conv(x, f"{i}_0"))
      x = self._conv(x, f"{i}_2")[:, 0].astype(jnp.float32)
      # As in the reference, x / max(|x|, 1e-12); the bound is of the square, whose root has a gradient.
      squared = jnp.sum(x * x, -1, keepdims=True)
      embeddings.append(x * jax.lax.rsqrt(jnp.maximum(squared, 1e-24)))
    return tuple(embeddings)

  def _conv(self, x: jax.Array, name: str) -> jax.Array:
    conv = nn.Conv(
      self.dim,
      (1, 1),
      kernel_init=TORCH_WEIGHTS,
      bias_init=torch_uniform(x.shape[-1]),
      dtype=self.dtype,
      name=f"cut_proj_{name}",
    )
    return conv(x)


def draw_rows(
  key: jax.Array, maps: Sequence[jax.Array | jax.ShapeDtypeStruct], count: int = 256
) -> tuple[jax.Array, ...]:
  """Draws min(count, B h w) distinct rows of the whole batch, [P] int32, for each map [B, h, w, D]."""
  keys = jax.random.split(key, len(maps))
  sizes = [x.shape[0] * x.shape[1] * x.shape[2] for x in maps]
  return tuple(
    jax.random.choice(k, n, (min(count, n),), replace=False)
    for k, n in zip(keys, sizes, strict=True)
  )
