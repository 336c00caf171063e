"""Photometric distortion with the semantics of MMSegmentation, which its supervised baselines train with.

Brightness is added, contrast multiplies without a mean, saturation and hue act in HSV; each of the four
happens with probability 1/2. Brightness comes first, and a coin puts contrast before or behind
saturation and hue. Images are RGB in [0, 1].

The reference works on whole numbers: it cuts off after each operation, and OpenCV's hue of 8 bits counts
steps of 2 degrees. Its setting of 18 is therefore one of 36 degrees. Here nothing is rounded but the hue.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda.views import color

BRIGHTNESS = 32 / 255  # largest shift
FACTORS = (0.5, 1.5)  # of contrast and of saturation
HUE_STEPS, STEPS_PER_TURN = 18, 180  # the hue moves by -18 to 17 of 180 steps


class PhotometricDraws(struct.PyTreeNode):
  """Random numbers of one distortion. A change that does not happen is 0, a factor that does not is 1.

  Attributes:
    brightness: [B] float32, added to the image.
    contrast: [B] float32 factors of the image.
    saturation: [B] float32 factors of the saturation.
    hue: [B] float32 fractions of a turn.
    contrast_first: [B] bool, whether contrast comes before saturation and hue.
  """

  brightness: jax.Array
  contrast: jax.Array
  saturation: jax.Array
  hue: jax.Array
  contrast_first: jax.Array


def draw(key: jax.Array, batch_size: int) -> PhotometricDraws:
  """Draws for a batch, each image for itself."""
  gate_key, coin_key, *keys = jax.random.split(key, 6)
  happens = jax.random.bernoulli(gate_key, 0.5, (4, batch_size))
  uniform = lambda key, least, largest: jax.random.uniform(
    key, (batch_size,), minval=least, maxval=largest
  )
  steps = jax.random.randint(keys[3], (batch_size,), -HUE_STEPS, HUE_STEPS)
  return PhotometricDraws(
    brightness=jnp.where(happens[0], uniform(keys[0], -BRIGHTNESS, BRIGHTNESS), 0.0),
    contrast=jnp.where(happens[1], uniform(keys[1], *FACTORS), 1.0),
    saturation=jnp.where(happens[2], uniform(keys[2], *FACTORS), 1.0),
    hue=jnp.where(happens[3], steps / STEPS_PER_TURN, 0.0),
    contrast_first=jax.random.bernoulli(coin_key, 0.5, (batch_size,)),
  )


def distort(image: jax.Array, draws: PhotometricDraws) -> jax.Array:
  """Distorts an image [B,H,W,3], RGB in [0, 1]; the result lies in [0, 1], too."""
  per_image = lambda values: values[:, None, None, None]
  first = per_image(jnp.where(draws.contrast_first, draws.contrast, 1.0))
  last = per_image(jnp.where(draws.contrast_first, 1.0, draws.contrast))
  image = jnp.clip(image + per_image(draws.brightness), 0, 1)
  hue, saturation, value = jnp.moveaxis(color.rgb_to_hsv(jnp.clip(image * first, 0, 1)), -1, 0)
  per_pixel = lambda values: values[:, None, None]
  saturation = jnp.clip(saturation * per_pixel(draws.saturation), 0, 1)
  hue = hue + 2 * jnp.pi * per_pixel(draws.hue)
  image = color.hsv_to_rgb(jnp.stack([hue, saturation, value], -1))
  return jnp.clip(image * last, 0, 1)
