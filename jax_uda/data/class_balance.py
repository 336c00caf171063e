"""Class-balanced sampling of source images: classes drawn less often so far are drawn more (SPCL)."""

import numpy as np


def draw_probabilities(class_images: np.ndarray) -> np.ndarray:
  """The probability of each class to be the next: in proportion to `1 / ln(1.01 + d_c)`.

  d_c is the share of class c in `class_images`, all 0 at the start; the draws are then uniform.

  Args:
    class_images: [..., C] numbers >= 0: how many of the images drawn so far hold each class. One
      image counts in every class that it holds. SPCL starts again from 0 every 3000 draws.

  Returns:
    [..., C] float64, sums to 1 over classes.

  Raises:
    ValueError: A count is negative.

  Source: golden `spcl/class_balance`.

  >>> draw_probabilities(np.array([0, 0])).tolist()
  [0.5, 0.5]
  """
  counts = np.asarray(class_images, np.float64)
  if counts.min(initial=0) < 0:
    raise ValueError(f"class_images holds {counts.min()}; expected numbers of images, >= 0")
  total = counts.sum(-1, keepdims=True)
  odds = 1 / np.log(1.01 + counts / np.where(total > 0, total, 1))
  return odds / odds.sum(-1, keepdims=True)
