"""Color jitter and blur with the semantics of torchvision, which VFM-UDA and newer versions of kornia have.

Brightness multiplies, contrast blends with the mean grey of the image, saturation with its grey image,
and the hue turns in HSV. Each image has factors and an order of its own, and is changed with a
probability of its own. Images are RGB in [0, 1].
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda.common.registry import SettingError
from jax_uda.views import blur, color
from jax_uda.views.strong import MIN_SIGMA

GREY = (0.2989, 0.587, 0.114)  # the weights of red, green and blue
KORNIA_GREY = (0.299, 0.587, 0.114)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Jitter:
  """How strongly colors are jittered, and how often. A factor lies between max(0, 1 - x) and 1 + x.

  Attributes:
    brightness: x of the image.
    contrast: x of its distance from the mean grey.
    saturation: x of its distance from the grey image.
    hue: Largest turn of the hue as a fraction of a full one, at most 0.5.
    probability: Share of the images that are jittered.
  """

  brightness: float = 0.2
  contrast: float = 0.2
  saturation: float = 0.2
  hue: float = 0.2
  probability: float = 0.8

  def __post_init__(self):
    """Raises SettingError for a strength or a probability out of range."""
    for name, largest in (("hue", 0.5), ("probability", 1.0)):
      value = getattr(self, name)
      if not 0 <= value <= largest:
        raise SettingError(name, f"= {value} must lie between 0 and {largest}.")
    for name in ("brightness", "contrast", "saturation"):
      if getattr(self, name) < 0:
        raise SettingError(name, f"= {getattr(self, name)} must be at least 0.")


class JitterDraws(struct.PyTreeNode):
  """Random numbers of a jitter.

  Attributes:
    color: Factors of brightness, contrast and saturation, turns of the hue, and their orders.
    happens: [B] bool, whether the image is jittered.
  """

  color: color.ColorDraws
  happens: jax.Array


class BlurDraws(struct.PyTreeNode):
  """Random numbers of a blur.

  Attributes:
    sigma: [B] float32 standard deviations in pixels.
    happens: [B] bool, whether the image is blurred.
  """

  sigma: jax.Array
  happens: jax.Array


def draw(key: jax.Array, batch_size: int, jitter: Jitter) -> JitterDraws:
  """Factors, order and gate of each image."""
  factor_key, order_key, gate_key = jax.random.split(key, 3)
  change = jnp.array([jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue])
  middle = jnp.array([1.0, 1.0, 1.0, 0.0])
  least = jnp.where(middle > 0, jnp.maximum(middle - change, 0), -change)
  unit = jax.random.uniform(factor_key, (batch_size, 4))
  order = jax.vmap(lambda k: jax.random.permutation(k, 4))(jax.random.split(order_key, batch_size))
  return JitterDraws(
    color.ColorDraws(least + unit * (middle + change - least), order),
    jax.random.bernoulli(gate_key, jitter.probability, (batch_size,)),
  )


def draw_blur(
  key: jax.Array, batch_size: int, probability: float, max_sigma: float = blur.MAX_SIGMA
) -> BlurDraws:
  """A standard deviation, at most `max_sigma`, and a gate for each image."""
  sigma_key, gate_key = jax.random.split(key)
  return BlurDraws(
    jax.random.uniform(sigma_key, (batch_size,), minval=MIN_SIGMA, maxval=max_sigma),
    jax.random.bernoulli(gate_key, probability, (batch_size,)),
  )


def _apply(
  image: jax.Array, operation: jax.Array, factor: jax.Array, grey_weights: Sequence[float]
) -> jax.Array:
  """Applies one of the four operations to each image; all are computed and one is selected (SPMD)."""
  grey = jnp.sum(image * jnp.array(tuple(grey_weights)), -1, keepdims=True)
  mean = jnp.mean(grey, (1, 2), keepdims=True)
  other = jnp.where(operation == color.CONTRAST, mean, grey)
  other = jnp.where(operation == color.BRIGHTNESS, 0.0, other)
  blended = jnp.clip(factor * image + (1 - factor) * other, 0, 1)
  hue, saturation, value = jnp.moveaxis(color.rgb_to_hsv(image), -1, 0)
  turned = jnp.stack([hue + 2 * jnp.pi * factor[..., 0], saturation, value], -1)
  return jnp.where(operation == color.HUE, color.hsv_to_rgb(turned), blended)


def changed(
  image: jax.Array, draws: color.ColorDraws, grey_weights: Sequence[float] = GREY
) -> jax.Array:
  """Jitters all images [B,H,W,3], RGB in [0, 1]; every operation but the hue clips to that range.

  Args:
    image: The images.
    draws: Factors and orders.
    grey_weights: Shares of red, green and blue in grey. kornia 0.6.7 has `KORNIA_GREY`.

  Source: golden `confetii/color_jitter_kornia067`.
  """
  for slot in range(4):
    operation = draws.order[:, slot]
    factor = jnp.take_along_axis(draws.factors, operation[:, None], -1)[:, 0]
    parts = operation[:, None, None, None], factor[:, None, None, None]
    image = _apply(image, *parts, grey_weights)
  return image


def jitter(image: jax.Array, draws: JitterDraws) -> jax.Array:
  """Jitters an image [B,H,W,3], RGB in [0, 1]; the result lies in [0, 1], too."""
  return jnp.where(draws.happens[:, None, None, None], changed(image, draws.color), image)


def grayscale(image: jax.Array, happens: jax.Array) -> jax.Array:
  """Gray images in place of those of [B,H,W,3] where `happens` [B] is true."""
  grey = jnp.sum(image * jnp.array(GREY), -1, keepdims=True)
  return jnp.where(happens[:, None, None, None], grey, image)


def gaussian_blur(
  image: jax.Array, draws: BlurDraws, max_sigma: float = blur.MAX_SIGMA
) -> jax.Array:
  """Blurs those images of [B,H,W,3] whose gate is open; no sigma exceeds `max_sigma`."""
  blurred = blur.gaussian_blur(image, draws.sigma, max_sigma=max_sigma)
  return jnp.where(draws.happens[:, None, None, None], blurred, image)
