"""Sliding-window inference on images larger than the training crop."""

from collections.abc import Callable

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
  logits_of: Callable[[jax.Array], jax.Array],
  image: jax.Array,
  window: Size,
  stride: Size,
) -> jax.Array:
  """Averages the logits of all windows that cover a pixel.

  Args:
    logits_of: From a window [B,h,w,3] to logits [B,h,w,C] of the same size; traced once, run in a
      scan.
    image: [B,H,W,3].
    window: (height, width) of the windows in pixels.
    stride: (height, width) between windows in pixels.

  Returns:
    [B,H,W,C] float32.

  Raises:
    ValueError: A stride does not fit its window, or `logits_of` changes the size.
  """
  height, width = image.shape[1:3]
  windows = boxes((height, width), window, stride)
  side = (windows[0][1] - windows[0][0], windows[0][3] - windows[0][2])
  starts = jnp.array([(y1, x1) for y1, _, x1, _ in windows])
  count = np.zeros((1, height, width, 1), np.float32)
  for y1, y2, x1, x2 in windows:
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

  def add(total: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
    zero = jnp.zeros((), start.dtype)
    corner = (zero, start[0], start[1], zero)
    size = (image.shape[0], *side, num_classes)
    before = jax.lax.dynamic_slice(total, corner, size)
    return jax.lax.dynamic_update_slice(total, before + logits_of(crop(start)), corner), None

  total = jnp.zeros((image.shape[0], height, width, num_classes), jnp.float32)
  total, _ = jax.lax.scan(add, total, starts)
  return total / count
