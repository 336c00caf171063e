"""Color jitter with the semantics of kornia 0.5.8, which the DACS family trains with.

Brightness is *added*, contrast multiplies without a mean, saturation and hue act in HSV. Each image
has its own order of the four. Images are RGB in [0, 1].
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
_TAU = 2 * jnp.pi


class ColorDraws(struct.PyTreeNode):
  """Random numbers of a jitter.

  Attributes:
    factors: [B, 4] float32: brightness, contrast and saturation around 1, hue around 0, as fractions of a turn.
    order: [B, 4] int32, a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE.
  """

  factors: jax.Array
  order: jax.Array


# From an image [B,H,W,3], RGB in [0, 1], to the jittered one.
Jitter = Callable[[jax.Array, ColorDraws], jax.Array]


def draw(key: jax.Array, batch_size: int, strength: float) -> ColorDraws:
  """Factors within `strength` of no change, and one order per image."""
  factor_key, order_key = jax.random.split(key)
  change = jax.random.uniform(factor_key, (batch_size, 4), minval=-strength, maxval=strength)
  order = jax.vmap(lambda k: jax.random.permutation(k, 4))(jax.random.split(order_key, batch_size))
  return ColorDraws(change + jnp.array([1.0, 1.0, 1.0, 0.0]), order)


def _modulo(x: jax.Array, period: float) -> jax.Array:
  """x mod period; on the CPU `%` calls a slow library function for each element."""
  return x - period * jnp.floor(x / period)


def rgb_to_hsv(image: jax.Array) -> jax.Array:
  """Converts [..., 3] RGB in [0, 1] to hue in [0, 2 pi), saturation and value; ties take the first channel."""
  red, green, blue = jnp.moveaxis(image, -1, 0)
  value = jnp.max(image, -1)
  spread = value - jnp.min(image, -1)
  safe = jnp.where(spread == 0, 1.0, spread)
  sixth = jnp.where(
    red == value,
    (green - blue) / safe,
    jnp.where(green == value, 2 + (blue - red) / safe, 4 + (red - green) / safe),
  )
  return jnp.stack([_modulo(sixth / 6, 1) * _TAU, spread / (value + 1e-6), value], -1)


def hsv_to_rgb(image: jax.Array) -> jax.Array:
  """The inverse of `rgb_to_hsv`; hue may be any angle."""
  hue, saturation, value = jnp.moveaxis(image, -1, 0)
  sixth = hue / _TAU * 6

  def channel(offset: int) -> jax.Array:
    distance = _modulo(sixth + offset, 6)
    return value - value * saturation * jnp.clip(jnp.minimum(distance, 4 - distance), 0, 1)

  return jnp.stack([channel(5), channel(3), channel(1)], -1)


def _apply(image: jax.Array, operation: jax.Array, factor: jax.Array) -> jax.Array:
  """Applies one of the four operations to each image; all are computed and one is selected (SPMD)."""
  plain = jnp.clip(jnp.where(operation == BRIGHTNESS, image + (factor - 1), image * factor), 0, 1)
  hue, saturation, value = jnp.moveaxis(rgb_to_hsv(image), -1, 0)
  is_hue = operation[..., 0] == HUE
  hue = jnp.where(is_hue, hue + _TAU * factor[..., 0], hue)
  saturation = jnp.where(is_hue, saturation, jnp.clip(saturation * factor[..., 0], 0, 1))
  return jnp.where(
    operation <= CONTRAST, plain, hsv_to_rgb(jnp.stack([hue, saturation, value], -1))
  )


def jitter(image: jax.Array, draws: ColorDraws) -> jax.Array:
  """Jitters an image [B,H,W,3], RGB in [0, 1]; the result lies in [0, 1], too."""
  for slot in range(4):
    operation = draws.order[:, slot]
    factor = jnp.take_along_axis(draws.factors, operation[:, None], -1)[:, 0]
    image = _apply(image, operation[:, None, None, None], factor[:, None, None, None])
  return image
