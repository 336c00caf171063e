"""A frozen foundation model whose map a student's is compared with."""

import flax.linen as nn
import jax

from jax_uda.models.encoders.plain_vit import PlainViT
from jax_uda.ops import pixels, resize


class FoundationModel(nn.Module):
  """A plain Vision Transformer in evaluation mode that looks at the image at a size of its own.

  Attributes:
    encoder: Gives the map, the last of its taps behind the last norm.
    size: The image's shorter side in pixels, rounded to a multiple of the patch; the other side follows.
  """

  encoder: PlainViT
  size: int = 406

  def __call__(self, image: jax.Array) -> jax.Array:
    """Maps images [B, H, W, 3], RGB in [0, 1], to [B, h, w, D] with a token per patch."""
    encoder = self.encoder
    shorter = min(resize.size_of(image))
    patches = lambda side: max(round(self.size * side / shorter / encoder.patch), 1)
    height, width = (encoder.patch * patches(side) for side in resize.size_of(image))
    image = pixels.standardise(image, encoder.image_mean, encoder.image_std)
    image = resize.bilinear(image, (height, width))
    return encoder(image, train=False, use_running_average=True)[-1]
