"""Random crops, flips and padding; all draws come from a given `np.random.Generator`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
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


class View(NamedTuple):
  """A window of an image, mirrored left to right or not."""

  box: Box
  is_mirrored: bool = False

  def copy(self, array: np.ndarray, out: np.ndarray, padding: np.ndarray | int) -> None:
    """Fills `out` [h,w,...]: the view of `array` [H,W,...], extended by `padding` below and on the right."""
    window = self.box.of(array)
    if window.shape != out.shape:
      out[...] = padding
      out = out[: self.box.height, : self.box.width]
    if self.is_mirrored:
      cv2.flip(window, 1, dst=out)  # NumPy is slow at it
    else:
      out[...] = window


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
