"""Pseudo-labels whose confidence reaches the median of their class over the whole data set.

  t_c = min(median of the largest probabilities of the pixels predicted as c, cap)

(Self-training as in CBST, Zou et al., ECCV 2018, and SPCL.) `median_thresholds` sorts all pixels;
a data set of 3000 images at 512x1024 has 1.5e9, and is better counted into a `ConfidenceHistogram`,
whose thresholds are at most one bin (2^-16 = 1.5e-5) below the exact ones. `threshold_label` applies
either.
"""

from typing import NamedTuple

import numpy as np

from jax_uda.data import label_spaces

NUM_BINS = 2**16


class ConfidenceHistogram(NamedTuple):
  """Bin i of a class counts its pixels of confidence [i, i + 1) / num_bins; the last includes 1."""

  counts: np.ndarray  # [C, num_bins] int64

  @property
  def bin_width(self) -> float:
    """The largest difference from the exact threshold."""
    return 1 / self.counts.shape[1]


def median_index(count: int) -> int:
  """Which of `count` > 0 sorted values is the median: half of them, rounded half to even."""
  return round(count / 2)


def median_thresholds(
  confidence: np.ndarray, label: np.ndarray, num_classes: int, *, cap: float = 0.9
) -> np.ndarray:
  """The exact threshold of every class.

  Args:
    confidence: [...] float, the largest probability of each pixel of the data set.
    label: [...] integers, its class; a pixel outside 0..C-1 (255 = ignore) is left out.
    num_classes: C.
    cap: Largest threshold; 1 leaves the medians as they are.

  Returns:
    [C] float64; 0 for a class never predicted.

  Raises:
    ValueError: The shapes differ.

  Source: golden `spcl/median_index`, `spcl/pseudo_label`.

  >>> median_thresholds(np.array([0.5, 0.75, 0.25]), np.array([0, 0, 2]), num_classes=3).tolist()
  [0.75, 0.0, 0.25]
  """
  _check_pixels(confidence, label)
  thresholds = np.zeros(num_classes)
  for c in range(num_classes):
    values = confidence[label == c]
    if values.size:
      index = median_index(values.size)
      thresholds[c] = min(np.partition(values, index)[index], cap)
  return thresholds


def empty_histogram(num_classes: int, num_bins: int = NUM_BINS) -> ConfidenceHistogram:
  """The counts of no pixels."""
  return ConfidenceHistogram(np.zeros((num_classes, num_bins), np.int64))


def add_pixels(
  histogram: ConfidenceHistogram, confidence: np.ndarray, label: np.ndarray
) -> ConfidenceHistogram:
  """Counts more pixels; see `median_thresholds` for confidence [...] and label [...].

  Raises:
    ValueError: The shapes differ, or a confidence is outside [0, 1].

  >>> histogram = add_pixels(empty_histogram(2, num_bins=4), np.array([0.3, 1.0]), np.array([0, 1]))
  >>> histogram.counts.tolist()
  [[0, 1, 0, 0], [0, 0, 0, 1]]
  """
  _check_pixels(confidence, label)
  num_classes, num_bins = histogram.counts.shape
  valid = (label >= 0) & (label < num_classes)
  confidence, label = confidence[valid].astype(np.float64), label[valid].astype(np.int64)
  if not np.all((confidence >= 0) & (confidence <= 1)):
    raise ValueError(f"confidence spans {confidence.min()} to {confidence.max()}; expected [0, 1]")
  bins = np.minimum((confidence * num_bins).astype(np.int64), num_bins - 1)
  new = np.bincount(label * num_bins + bins, minlength=histogram.counts.size)
  return ConfidenceHistogram(histogram.counts + new.reshape(histogram.counts.shape))


def histogram_thresholds(histogram: ConfidenceHistogram, *, cap: float = 0.9) -> np.ndarray:
  """[C] float64: the lower edge of the median's bin, so never above the exact threshold.

  A class never predicted has 0.

  >>> histogram = ConfidenceHistogram(np.array([[0, 1, 2, 1], [0, 0, 0, 0]]))
  >>> histogram_thresholds(histogram).tolist()
  [0.5, 0.0]
  """
  thresholds = np.zeros(len(histogram.counts))
  for c, cumulative in enumerate(np.cumsum(histogram.counts, 1)):
    if count := int(cumulative[-1]):
      index = np.searchsorted(cumulative, median_index(count), side="right")
      thresholds[c] = min(index * histogram.bin_width, cap)
  return thresholds


def threshold_label(
  confidence: np.ndarray, label: np.ndarray, thresholds: np.ndarray
) -> np.ndarray:
  """The label as uint8 train ids; 255 where the confidence is below the threshold of its class.

  Args:
    confidence: [...] float.
    label: [...] integers 0..C-1, or 255 = ignore.
    thresholds: [C].

  Raises:
    ValueError: The shapes differ, or a label is neither a class nor 255.

  Source: golden `spcl/pseudo_label`.

  >>> threshold_label(np.array([0.5, 0.4]), np.array([0, 0]), np.array([0.5])).tolist()
  [0, 255]
  """
  _check_pixels(confidence, label)
  known = (label >= 0) & (label < len(thresholds))
  if not np.all(known | (label == label_spaces.IGNORE)):
    raise ValueError(f"label holds ids outside 0..{len(thresholds) - 1} that are not 255")
  # In float64: a float32 threshold would round the cap, and the pixels at the median with it.
  least = np.asarray(thresholds, np.float64)[np.where(known, label, 0)]
  keep = known & (confidence.astype(np.float64) >= least)
  return np.where(keep, label, label_spaces.IGNORE).astype(np.uint8)


def _check_pixels(confidence: np.ndarray, label: np.ndarray) -> None:
  if confidence.shape != label.shape:
    raise ValueError(f"label has shape {label.shape}, but confidence asks for {confidence.shape}")
