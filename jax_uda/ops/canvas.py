"""Canvases: sizes up to which images and labels are padded, right and below."""

import numpy as np

from jax_uda.ops.resize import Size


def round_up(size: Size, unit: int) -> Size:
  """The least multiples of `unit` that hold `size`."""
  return -(-size[0] // unit) * unit, -(-size[1] // unit) * unit


def pad(array: np.ndarray, size: Size, value: int | None = None) -> np.ndarray:
  """Pads [B,H,W,...] right and below up to `size`, with `value` or, if None, the pixels of the edge."""
  if array.shape[1:3] == tuple(size):
    return array
  more = [(0, target - side) for side, target in zip(array.shape[1:3], size, strict=True)]
  widths = ((0, 0), *more, *((0, 0),) * (array.ndim - 3))
  if value is None:
    return np.pad(array, widths, mode="edge")
  return np.pad(array, widths, constant_values=value)
