"""CUT's discriminator of image patches of 70 x 70 pixels, with antialiased downsampling.

Golden: `confeti/cut_nets`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.translation import layers


def _leaky_relu(x: jax.Array) -> jax.Array:
  return nn.leaky_relu(x, 0.2)


class PatchDiscriminator(nn.Module):
  """Scores every patch of an image; least-squares losses pull real ones to 1 and others to 0.

  Attributes:
    width: Channels of the first convolution; the next three have 2, 4 and 8 times as many.
    dtype: Compute dtype; parameters, scores and instance statistics are float32.
  """

  width: int = 64
  dtype: DTypeLike = jnp.float32

  def setup(self) -> None:
    """Lists the layers; the index of a layer is its number in checkpoints."""
    conv = lambda factor: layers.conv(self.width * factor, 4, padding=1, dtype=self.dtype)
    normed = lambda conv: [conv, layers.instance_norm(self.dtype), _leaky_relu]
    self.model = [
      *(conv(1), _leaky_relu, layers.downsample),
      *(*normed(conv(2)), layers.downsample),
      *(*normed(conv(4)), layers.downsample),
      *normed(conv(8)),
      layers.conv(1, 4, padding=1, dtype=jnp.float32),
    ]

  def __call__(self, image: jax.Array) -> jax.Array:
    """Maps images [B, H, W, 3] in [-1, 1] to scores [B, h, w, 1]; 62 x 62 for 512 x 512.

    Raises:
      ValueError: H or W is below 24.
    """
    if min(image.shape[1:3]) < 24:
      raise ValueError(f"image has shape {image.shape}; the discriminator needs sides of 24 and up")
    x = image.astype(self.dtype)
    for layer in self.model:
      x = layer(x)
    return x
