"""Random crops, flips and padding. All random numbers come from a given `np.random.Generator`."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from jax_uda.common.registry import SettingError
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline.rescale import Size

MAX_REDRAWS = 10
# The rounded ImageNet mean: about zero once the image is standardised, as in the reference pipelines.
PAD_COLOR = np.array((124, 116, 104), np.uint8)


class Window(NamedTuple):
  """A rectangle in an image, in pixels."""

  top: int
  left: int
  height: int
  width: int

  def of(self, array: np.ndarray) -> np.ndarray:
    """The part of `array` [H,W,...] inside the window; shares its memory."""
    return array[self.top : self.top + self.height, self.left : self.left + self.width]


class Crop(NamedTuple):
  """A window of an image, mirrored left to right or not."""

  window: Window
  is_mirrored: bool = False

  def fill(self, out: np.ndarray, array: np.ndarray, padding: np.ndarray | int) -> None:
    """Fills `out` [h,w,...] with the crop of `array` [H,W,...], padded at the bottom and on the right."""
    part = self.window.of(array)
    if part.shape != out.shape:
      out[...] = padding
      out = out[: self.window.height, : self.window.width]
    if self.is_mirrored:
      cv2.flip(part, 1, dst=out)  # NumPy is slow at it
    else:
      out[...] = part


def draw_window(size: Size, crop_size: Size, rng: np.random.Generator) -> Window:
  """A uniformly placed window of `crop_size`; smaller where the image is smaller than the crop."""
  height, width = min(size[0], crop_size[0]), min(size[1], crop_size[1])
  top = int(rng.integers(0, size[0] - height + 1))
  left = int(rng.integers(0, size[1] - width + 1))
  return Window(top, left, height, width)


def is_varied(label: np.ndarray, cat_max_ratio: float) -> bool:
  """Whether `label` (uint8) holds two or more classes and the largest has a share < `cat_max_ratio`."""
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
  return bool(np.count_nonzero(counts) > 1 and counts.max() / total < cat_max_ratio)


def choose_window(
  label: np.ndarray, draw: Callable[[], Window], cat_max_ratio: float = 0.75
) -> Window:
  """The first window whose label `is_varied`, or the tenth redraw, unchecked (golden `crop_accept`).

  Args:
    label: [H,W] uint8 train ids, 255 = ignore.
    draw: Returns the next random window.
    cat_max_ratio: The largest accepted share of one class; 1 or more accepts every window.
  """
  window = draw()
  if cat_max_ratio >= 1:
    return window
  for _ in range(MAX_REDRAWS):
    if is_varied(window.of(label), cat_max_ratio):
      return window
    window = draw()
  return window


def check_margins(margins: Sequence[float] | None) -> None:
  """Raises SettingError unless `margins` is None or (top, bottom, left, right), all >= 0.

  Numbers below 1 are shares of the image's height or width.
  """
  if margins is not None and (len(margins) != 4 or min(margins) < 0):
    raise SettingError(
      "target_margins",
      f"= {tuple(margins)} must be (top, bottom, left, right) in pixels or, below 1, as shares of the "
      "image, or empty.",
    )


def margin_mask(size: Size, margins: Sequence[float]) -> np.ndarray:
  """uint8 [*size]: 0 within the margins (top, bottom, left, right), 1 elsewhere.

  Margins are in pixels or, below 1, shares of the height or width, rounded down.
  """
  sides = (size[0], size[0], size[1], size[1])
  top, bottom, left, right = (
    int(margin * side if margin < 1 else margin)
    for margin, side in zip(margins, sides, strict=True)
  )
  mask = np.zeros(size, np.uint8)
  mask[top : max(size[0] - bottom, 0), left : max(size[1] - right, 0)] = 1
  return mask
