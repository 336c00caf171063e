"""Random crops, flips and padding; all draws come from a given `np.random.Generator`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.data.label_spaces import IGNORE

MAX_REDRAWS = 10
# The rounded ImageNet mean: about zero once the image is standardised, as in the reference pipelines.
PAD_COLOR = np.array((124, 116, 104), np.uint8)


class Box(NamedTuple):
  """A window of an image, in pixels."""

  top: int
  left: int
  height: int
  width: int

  def of(self, array: np.ndarray) -> np.ndarray:
    """The window of `array` [H,W,...]; a view."""
    return array[self.top : self.top + self.height, self.left : self.left + self.width]


def draw_box(size: tuple[int, int], crop_size: tuple[int, int], rng: np.random.Generator) -> Box:
  """A uniformly placed window of `crop_size`, smaller where the image is smaller than the crop."""
  height, width = min(size[0], crop_size[0]), min(size[1], crop_size[1])
  top = int(rng.integers(0, size[0] - height + 1))
  left = int(rng.integers(0, size[1] - width + 1))
  return Box(top, left, height, width)


def is_varied(label: np.ndarray, cat_max_ratio: float) -> bool:
  """Whether `label` (uint8) holds two classes or more and the largest has a share < `cat_max_ratio`."""
  # Two counts nearly always settle it, and are faster than a histogram: if all other classes together
  # have too small a share to be too large, only the most frequent one can be.
  label = np.ascontiguousarray(label)
  total = label.size - np.count_nonzero(label == IGNORE)
  # Compared with a NumPy integer, all pixels would become int64 first.
  frequent = int(np.bincount(label[::8, ::8].ravel(), minlength=256)[:IGNORE].argmax())
  others = total - np.count_nonzero(label == frequent)
  if not others or (total - others) / total >= cat_max_ratio:
    return False
  if others < total and others / total < cat_max_ratio:
    return True
  counts = np.bincount(label.ravel(), minlength=256)[:IGNORE]
  return np.count_nonzero(counts) > 1 and counts.max() / total < cat_max_ratio


def choose_box(label: np.ndarray, draw: Callable[[], Box], cat_max_ratio: float = 0.75) -> Box:
  """The first box that `is_varied`, or the tenth redraw, unchecked (golden `crop_accept`).

  Args:
    label: [H,W] uint8 train ids, 255 = ignore.
    draw: Returns the next random box.
    cat_max_ratio: As in `is_varied`; 1 or more accepts every box.
  """
  box = draw()
  if cat_max_ratio >= 1:
    return box
  for _ in range(MAX_REDRAWS):
    if is_varied(box.of(label), cat_max_ratio):
      return box
    box = draw()
  return box


def flip(array: np.ndarray) -> np.ndarray:
  """Mirrors [H,W,...] left to right; a view."""
  return array[:, ::-1]


def is_mirrored(array: np.ndarray) -> bool:
  """Whether [H,W,...] is a view that `flip` made: NumPy is slow on those, OpenCV is not."""
  return array.ndim > 1 and array.strides[1] < 0


def _pad(array: np.ndarray, size: tuple[int, int], value: np.ndarray | int) -> np.ndarray:
  if array.shape[:2] == tuple(size):
    return array
  padded = np.empty((*size, *array.shape[2:]), array.dtype)
  padded[:] = value
  padded[: array.shape[0], : array.shape[1]] = array
  return padded


def pad_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[h,w,3] uint8 -> [*size,3], extended at the bottom and right by `PAD_COLOR`."""
  return _pad(image, size, PAD_COLOR)


def pad_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[h,w] uint8 -> [*size], extended at the bottom and right by 255."""
  return _pad(label, size, IGNORE)


def pad_valid(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[h,w] uint8 -> [*size], extended at the bottom and right by 0: nothing is known there."""
  return _pad(mask, size, 0)


def check_margins(margins: Sequence[int]) -> None:
  """Raises ValueError unless `margins` is empty or (top, bottom, left, right), all >= 0."""
  if margins and (len(margins) != 4 or min(margins) < 0):
    raise ValueError(
      f"config.data.target_margins = {tuple(margins)} must be (top, bottom, left, right) in pixels, "
      "or empty."
    )


def margin_mask(size: tuple[int, int], margins: Sequence[int]) -> np.ndarray:
  """uint8 [*size]: 0 within the margins (top, bottom, left, right), 1 elsewhere."""
  top, bottom, left, right = margins
  mask = np.zeros(size, np.uint8)
  mask[top : max(size[0] - bottom, 0), left : max(size[1] - right, 0)] = 1
  return mask
