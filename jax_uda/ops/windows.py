"""Sliding-window inference on images larger than the training crop."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.ops.resize import Size

Box = tuple[int, int, int, int]  # (y1, y2, x1, x2)


def boxes(size: Size, window: Size, stride: Size) -> list[Box]:
  """The boxes of the windows over an image of `size`, row by row.

  The last window of a row or column is shifted back inside. Along an axis where the image is smaller
  than the window, the box is as large as the image.

  Raises:
    ValueError: A stride is not between 1 and its window.
  """
  starts = []
  for length, side, step in zip(size, window, stride, strict=True):
    if not 1 <= step <= side:
      raise ValueError(f"stride = {stride} must lie between 1 and the window {window} on each axis")
    count = max(-(-(length - side) // step), 0) + 1
    starts.append([max(min(i * step, length - side), 0) for i in range(count)])
  rows, columns = starts
  return [
    (y, min(y + window[0], size[0]), x, min(x + window[1], size[1])) for y in rows for x in columns
  ]


def sliding_logits(
  logits_of: Callable[[Any], jax.Array],
  image: Any,
  window: Size,
  stride: Size,
  canvas: Size | None = None,
) -> jax.Array:
  """Averages the logits of all windows that cover a pixel.

  `logits_of` is called once per window, with windows of one size. Outside of a jitted function, a jitted
  `logits_of` is therefore compiled once for images of all sizes that hold a window.

  Args:
    logits_of: From a window [B,h,w,3] to logits [B,h,w,C] of the same size.
    image: [B,H,W,3], a NumPy or JAX array.
    window: (height, width) of the windows in pixels.
    stride: (height, width) between windows in pixels.
    canvas: (height, width) of the result, at least the image's; right and below of the image it is 0. None:
      the image's. Images with one canvas share all programs.

  Returns:
    [B,*canvas,C] float32.

  Raises:
    ValueError: A stride does not fit its window, or `logits_of` changes the size.
  """
  places = boxes((image.shape[1], image.shape[2]), window, stride)
  canvas = canvas or (image.shape[1], image.shape[2])
  count = np.zeros((1, *canvas, 1), np.float32)
  total = None
  for y1, y2, x1, x2 in places:
    count[:, y1:y2, x1:x2] += 1
    corner = np.array([y1, x1], np.int32)
    logits = logits_of(image[:, y1:y2, x1:x2])
    if logits.shape[:-1] != (image.shape[0], y2 - y1, x2 - x1):
      raise ValueError(
        f"logits_of returns {logits.shape} for windows of {(y2 - y1, x2 - x1)}: resize its logits to the "
        "window"
      )
    total = _first(logits, corner, canvas) if total is None else _add(total, logits, corner)
  return _divide(total, np.maximum(count, 1))


# Jitted one by one, so that no array is made outside: those of several processes must be global. The corner
# is an argument: the programs depend on sizes alone.
@functools.partial(jax.jit, static_argnames="size")
def _first(logits: jax.Array, corner: jax.Array, size: Size) -> jax.Array:
  total = jnp.zeros((logits.shape[0], *size, logits.shape[-1]), jnp.float32)
  return jax.lax.dynamic_update_slice(total, logits, (0, corner[0], corner[1], 0))


@functools.partial(jax.jit, donate_argnums=0)
def _add(total: jax.Array, logits: jax.Array, corner: jax.Array) -> jax.Array:
  start = (0, corner[0], corner[1], 0)
  before = jax.lax.dynamic_slice(total, start, logits.shape)
  return jax.lax.dynamic_update_slice(total, before + logits, start)


@functools.partial(jax.jit, donate_argnums=0)
def _divide(total: jax.Array, count: jax.Array) -> jax.Array:
  return total / count
