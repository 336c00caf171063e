"""CUT's generator: a ResNet between two steps of antialiased downsampling and two of upsampling.

Golden: `confeti/cut_nets`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.translation import layers


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions, each mirrored at the border and normalised, around a shortcut.

  Attributes:
    features: Channels of input and output.
    dtype: Compute dtype; parameters and instance statistics are float32.
    torch_init: Whether parameters start as in PyTorch instead of as in CUT.
  """

  features: int
  dtype: DTypeLike = jnp.float32
  torch_init: bool = False

  def setup(self) -> None:
    """Lists the layers; the index of a layer is its number in checkpoints."""
    inputs = self.features * self.torch_init
    conv = lambda: layers.conv(self.features, 3, dtype=self.dtype, torch_inputs=inputs)
    norm = lambda: layers.instance_norm(self.dtype)
    pad = layers.reflect_pad(1)
    self.conv_block = [pad, conv(), norm(), nn.relu, pad, conv(), norm()]

  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, features] to the same shape."""
    y = x
    for layer in self.conv_block:
      y = layer(y)
    return x + y


class Generator(nn.Module):
  """Translates images in [-1, 1]; its first layers also encode patches for PatchNCE.

  Attributes:
    width: Channels at full resolution; there are twice as many at half and four times as many at a
      quarter of it.
    blocks: Number of residual blocks.
    nce_layers: Indices of the layers whose outputs `encode` returns, ascending. As published, the
      first is the padded image, the next two are convolutions before their norm, and the others are
      residual blocks.
    dtype: Compute dtype; parameters, the returned image and instance statistics are float32.
  """

  width: int = 64
  blocks: int = 9
  nce_layers: tuple[int, ...] = (0, 4, 8, 12, 16)
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Lists the layers; the index of a layer is its number in checkpoints and in `nce_layers`."""
    fine, middle, coarse = (self.width * factor for factor in (1, 2, 4))
    conv = lambda *args, **options: layers.conv(*args, **options, dtype=self.dtype)
    normed = lambda conv: [conv, layers.instance_norm(self.dtype), nn.relu]
    self.model = [
      layers.reflect_pad(3),
      *normed(conv(fine, 7)),
      *normed(conv(middle, 3, padding=1)),
      layers.downsample,
      *normed(conv(coarse, 3, padding=1)),
      layers.downsample,
      *(ResidualBlock(coarse, self.dtype) for _ in range(self.blocks)),
      layers.upsample,
      *normed(conv(middle, 3, padding=1)),
      layers.upsample,
      *normed(conv(fine, 3, padding=1)),
      layers.reflect_pad(3),
      conv(3, 7),
      nn.tanh,
    ]

  def __call__(self, image: jax.Array) -> jax.Array:
    """Maps images [B, H, W, 3] in [-1, 1] to translated ones in the same range, float32.

    Raises:
      ValueError: 4 does not divide H and W, or they are below 8, too small to be mirrored.
    """
    check_sides(image)
    x = image.astype(self.dtype)
    for layer in self.model:
      x = layer(x)
    return x.astype(jnp.float32)

  def encode(self, image: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the maps of `nce_layers`: `model.apply(variables, image, method="encode")`.

    As published, their shapes are [B, H+6, W+6, 3], [B, H, W, 128], [B, H/2, W/2, 256] and twice
    [B, H/4, W/4, 256]. Layers after the last of them do not run.
    """
    x, features = image.astype(self.dtype), []
    for i, layer in enumerate(self.model[: self.nce_layers[-1] + 1]):
      x = layer(x)
      if i in self.nce_layers:
        features.append(x)
    return tuple(features)


def check_sides(image: jax.Array) -> None:
  """Raises a ValueError unless 4 divides the sides of [B, H, W, 3], and they are at least 8."""
  height, width = image.shape[1:3]
  if height % 4 or width % 4 or min(height, width) < 8:
    raise ValueError(
      f"image size {height}x{width}: the generator needs sides that are multiples of 4 and at "
      "least 8; crop the image"
    )
