"""Segmentation scores: pixel counts first, ratios last.

The IoU of a data set comes from the counts over all its images; a mean of per-image IoUs is another
number. Counts are int64 on the host (float32 counters stop at 2**24).
"""

from collections.abc import Sequence

import numpy as np


def confusion(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
  """[C, C] int64 pixel counts; row = label, column = prediction.

  Args:
    label: [...] integers; pixels outside 0..C-1 (255 = ignore) are not counted.
    prediction: [...] integers in 0..C-1.
    num_classes: C.

  Raises:
    ValueError: The shapes differ, or a counted pixel's prediction is no class.
  """
  if label.shape != prediction.shape:
    raise ValueError(f"label has shape {label.shape}, prediction {prediction.shape}")
  valid = (label >= 0) & (label < num_classes)
  label, prediction = label[valid].astype(np.int64), prediction[valid].astype(np.int64)
  if prediction.size and not 0 <= prediction.min() <= prediction.max() < num_classes:
    raise ValueError(
      f"predictions lie in {prediction.min()}..{prediction.max()}, not in 0..{num_classes - 1}"
    )
  counts = np.bincount(label * num_classes + prediction, minlength=num_classes**2)
  return counts.reshape(num_classes, num_classes)


def iou(counts: np.ndarray) -> np.ndarray:
  """[C] in [0, 1]; NaN for a class in neither label nor prediction."""
  hits = np.diag(counts)
  with np.errstate(invalid="ignore"):
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def accuracy(counts: np.ndarray) -> np.ndarray:
  """[C] share of each class's label pixels that are predicted as it; NaN without such pixels."""
  with np.errstate(invalid="ignore"):
    return np.diag(counts) / counts.sum(1)


def pixel_accuracy(counts: np.ndarray) -> float:
  """Share of all counted pixels that are predicted correctly; NaN without pixels."""
  total = counts.sum()
  return float(np.trace(counts) / total) if total else float("nan")


def mean_iou(
  counts: np.ndarray, subset: Sequence[int] | None = None, *, absent_as_zero: bool = False
) -> float:
  """Mean IoU over the classes (of `subset`) whose IoU is defined; NaN if none is.

  With `absent_as_zero` an undefined IoU counts as 0.

  A subset is taken *after* the counting: pixels of other classes stay in the ground truth and cost
  precision, as in the 16- and 13-class scores of SYNTHIA.
  """
  values = iou(counts)
  values = values if subset is None else values[list(subset)]
  defined = np.nan_to_num(values) if absent_as_zero else values[~np.isnan(values)]
  return float(defined.mean()) if defined.size else float("nan")
