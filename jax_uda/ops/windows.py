"""Sliding-window inference on images larger than the training crop."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Box = tuple[int, int, int, int]


def boxes(size: tuple[int, int], window: tuple[int, int], stride: tuple[int, int]) -> list[Box]:
  """(y1, y2, x1, x2) of each window over an image of `size`, row by row.

  The last window of a row or column is shifted back inside; an image smaller than the window gets
  one box of its own size along that axis.

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
  logits_of: Callable[[jax.Array], jax.Array],
  image: jax.Array,
  window: tuple[int, int],
  stride: tuple[int, int],
) -> jax.Array:
  """Logits [B,H,W,C] averaged over the windows that cover each pixel.

  Args:
    logits_of: Window [B,h,w,3] -> logits [B,h,w,C] of the same size; traced once, run in a scan.
    image: [B,H,W,3].
    window: (height, width) in pixels.
    stride: (height, width) between windows.

  Raises:
    ValueError: A stride does not fit its window, or `logits_of` changes the size.
  """
  height, width = image.shape[1:3]
  found = boxes((height, width), window, stride)
  side = (found[0][1] - found[0][0], found[0][3] - found[0][2])
  starts = jnp.array([(y1, x1) for y1, _, x1, _ in found])
  count = np.zeros((1, height, width, 1), np.float32)
  for y1, y2, x1, x2 in found:
    count[:, y1:y2, x1:x2] += 1

  crop = lambda start: jax.lax.dynamic_slice(
    image, (0, *start, 0), (image.shape[0], *side, image.shape[3])
  )
  shape = jax.eval_shape(lambda: logits_of(crop(starts[0]))).shape
  if shape[:-1] != (image.shape[0], *side):
    raise ValueError(
      f"logits_of returns {shape} for windows of {side}: resize its logits to the window"
    )
  num_classes = shape[-1]

  def add(total, start):
    zero = jnp.zeros((), start.dtype)
    corner = (zero, start[0], start[1], zero)
    size = (image.shape[0], *side, num_classes)
    before = jax.lax.dynamic_slice(total, corner, size)
    return jax.lax.dynamic_update_slice(total, before + logits_of(crop(start)), corner), None

  total = jnp.zeros((image.shape[0], height, width, num_classes), jnp.float32)
  total, _ = jax.lax.scan(add, total, starts)
  return total / count
