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
    torch_init: Whether parameters start as in PyTorch (CONFETII) instead of as in CUT.
  """

  width: int = 64
  dtype: DTypeLike = jnp.float32
  torch_init: bool = False

  def setup(self) -> None:
    """Lists the layers; the index of a layer is its number in checkpoints."""
    conv = lambda features, inputs, dtype=self.dtype: layers.conv(
      features, 4, padding=1, dtype=dtype, torch_inputs=inputs * self.torch_init
    )
    widths = [self.width * factor for factor in (1, 2, 4, 8)]
    first, second, third, fourth = map(conv, widths, [3, *widths])
    normed = lambda conv: [conv, layers.instance_norm(self.dtype), _leaky_relu]
    self.model = [
      *(first, _leaky_relu, layers.downsample),
      *(*normed(second), layers.downsample),
      *(*normed(third), layers.downsample),
      *normed(fourth),
      conv(1, widths[-1], jnp.float32),
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
