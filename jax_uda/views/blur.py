"""Gaussian blur with reflected borders, separable, one sigma per image."""

import functools
import math

import jax
import jax.numpy as jnp

MAX_SIGMA = 1.15  # of the DACS family
# Taps further away than so many sigma weigh less than 1e-8, whatever the kernel size.
FAR = 6


def kernel_size(length: int) -> int:
  """Size of the kernel along an axis of `length` pixels: a tenth of it, made odd (DACS)."""
  tenth = math.ceil(0.1 * length)
  return math.floor(tenth - 0.5 + tenth % 2)


def _blur_axis(image: jax.Array, sigma: jax.Array, axis: int, radius: int) -> jax.Array:
  length = image.shape[axis]
  taps = jnp.arange(-radius, radius + 1)
  weights = jnp.exp(-(taps**2) / (2 * sigma[:, None] ** 2))  # [B, taps]
  weights /= jnp.sum(weights, -1, keepdims=True)
  padding = [(radius, radius) if i == axis else (0, 0) for i in range(image.ndim)]
  padded = jnp.pad(image, padding, mode="reflect")
  window = lambda i: jax.lax.slice_in_dim(padded, i, i + length, axis=axis)
  return functools.reduce(
    jnp.add, (weights[:, i, None, None, None] * window(i) for i in range(2 * radius + 1))
  )


def gaussian_blur(
  image: jax.Array,
  sigma: jax.Array,
  *,
  max_sigma: float = MAX_SIGMA,
  kernel: tuple[int, int] | None = None,
) -> jax.Array:
  """Blurs an image [B,H,W,D] with a standard deviation of sigma [B] pixels.

  Args:
    image: [B,H,W,D] floats.
    sigma: [B], at most `max_sigma`.
    max_sigma: The largest sigma; taps that are far for it are left out.
    kernel: (height, width) of the kernel, both odd; `kernel_size` of the image's sides if not given.
  """
  sizes = kernel or tuple(kernel_size(length) for length in image.shape[1:3])
  farthest = math.ceil(FAR * max_sigma)
  for axis, size in enumerate(sizes, 1):
    image = _blur_axis(image, sigma, axis, min(size // 2, farthest))
  return image
