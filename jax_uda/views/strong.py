"""The strong augmentation of mixed and masked images: color jitter, then blur.

Whether to jitter and whether to blur is drawn once per step for the whole batch (DAFormer's code; the
paper says per image).
"""

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda.views import blur, color

JITTER_GATE = 0.2
BLUR_GATE = 0.5
MIN_SIGMA = 0.15


class StrongDraws(struct.PyTreeNode):
  """Random numbers of one strong augmentation.

  Attributes:
    jitter_gate: Scalar in [0, 1); the batch is jittered if it exceeds `JITTER_GATE`.
    blur_gate: Scalar in [0, 1); the batch is blurred if it exceeds `BLUR_GATE`.
    color: Factors and orders of the jitter.
    sigma: [B] float32 standard deviations of the blur, in pixels.
  """

  jitter_gate: jax.Array
  blur_gate: jax.Array
  color: color.ColorDraws
  sigma: jax.Array


def draw(key: jax.Array, batch_size: int, *, strength: float = 0.2) -> StrongDraws:
  """Draws for one batch; `strength` bounds the change of brightness, contrast, saturation and hue."""
  jitter_key, blur_key, color_key, sigma_key = jax.random.split(key, 4)
  return StrongDraws(
    jitter_gate=jax.random.uniform(jitter_key),
    blur_gate=jax.random.uniform(blur_key),
    color=color.draw(color_key, batch_size, strength),
    sigma=jax.random.uniform(sigma_key, (batch_size,), minval=MIN_SIGMA, maxval=blur.MAX_SIGMA),
  )


def share_across_batch(draws: StrongDraws) -> StrongDraws:
  """The draws with one order of operations and one sigma for all images, as in one call of kornia."""
  same = lambda x: jnp.broadcast_to(x[:1], x.shape)
  return draws.replace(
    color=draws.color.replace(order=same(draws.color.order)), sigma=same(draws.sigma)
  )


def augment(image: jax.Array, draws: StrongDraws, jitter: color.Jitter = color.jitter) -> jax.Array:
  """Augments image [B,H,W,3], RGB in [0, 1], by `jitter`, which clips to that range, and a blur."""
  image = jax.lax.cond(
    draws.jitter_gate > JITTER_GATE,
    lambda image: jitter(image, draws.color),
    lambda image: image,
    image,
  )
  return jax.lax.cond(
    draws.blur_gate > BLUR_GATE,
    lambda image: blur.gaussian_blur(image, draws.sigma),
    lambda image: image,
    image,
  )
