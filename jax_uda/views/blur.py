"""Gaussian blur with reflected borders, separable, one sigma per image."""

import functools
import math

import jax
import jax.numpy as jnp

# With sigma <= MAX_SIGMA the taps beyond this radius weigh less than 1e-8, whatever the kernel size.
MAX_SIGMA = 1.15
MAX_RADIUS = 7


def kernel_size(length: int) -> int:
  """Size of the kernel along an axis of `length` pixels: a tenth of it, made odd (DACS)."""
  tenth = math.ceil(0.1 * length)
  return math.floor(tenth - 0.5 + tenth % 2)


def _blur_axis(image: jax.Array, sigma: jax.Array, axis: int) -> jax.Array:
  length = image.shape[axis]
  radius = min(kernel_size(length) // 2, MAX_RADIUS)
  taps = jnp.arange(-radius, radius + 1)
  weights = jnp.exp(-(taps**2) / (2 * sigma[:, None] ** 2))  # [B, taps]
  weights /= jnp.sum(weights, -1, keepdims=True)
  padding = [(radius, radius) if i == axis else (0, 0) for i in range(image.ndim)]
  padded = jnp.pad(image, padding, mode="reflect")
  window = lambda i: jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
  return functools.reduce(
    jnp.add, (weights[:, i, None, None, None] * window(i) for i in range(2 * radius + 1))
  )


def gaussian_blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
  """Blurs an image [B,H,W,D] with a standard deviation of sigma [B] pixels, at most `MAX_SIGMA`."""
  return _blur_axis(_blur_axis(image, sigma, 1), sigma, 2)
