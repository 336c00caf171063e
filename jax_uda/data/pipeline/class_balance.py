"""Class-balanced sampling of source images: classes that were drawn less often so far come more often (SPCL)."""

import threading

import numpy as np

from jax_uda.common.registry import SettingError

BLOCK = 3000  # the number of draws after which the shares start again from 0


def draw_probabilities(class_images: np.ndarray) -> np.ndarray:
  """The probability of each class to be drawn next, proportional to `1 / ln(1.01 + d_c)`.

  d_c is the share of class c in `class_images`. At the start all shares are 0, so draws are uniform.

  Args:
    class_images: [..., C] numbers >= 0 of the images drawn so far that hold each class. An image counts
      in every class that it holds. SPCL starts again from 0 every 3000 draws.

  Returns:
    [..., C] float64, whose sum over classes is 1.

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


class BalancedOrder:
  """The order of images: `order[n]` is the image of draw n, a pure function of the images, the seed and n.

  Each draw takes a class (`draw_probabilities`) and the next image in the list of that class. A list is in
  order at first, and is shuffled each time it is used up. Draws depend on those before, so they are
  made in turn (about 40 us each) and remembered. Threads may share an object.
  """

  def __init__(self, class_counts: np.ndarray, seed: int):
    """Takes the pixels [N,C] of each class in each image, and a seed >= 0.

    Raises:
      SettingError: No image holds a class.
    """
    self._holds = np.asarray(class_counts) > 0  # [N,C]
    self._lists = [np.flatnonzero(column) for column in self._holds.T]
    self._possible = self._holds.any(0)
    if not self._possible.any():
      raise SettingError("class_balanced", ": no source image has a label.")
    self._cursors = [0] * len(self._lists)
    self._rng = np.random.default_rng((seed, BLOCK))
    self._images = np.zeros(len(self._lists), np.int64)  # drawn in this block, per class
    self._drawn: list[int] = []
    self._lock = threading.Lock()

  def __getitem__(self, number: int) -> int:
    """The image of draw `number` >= 0."""
    with self._lock:
      while len(self._drawn) <= number:
        self._drawn.append(self._draw())
      return self._drawn[number]

  def _draw(self) -> int:
    if len(self._drawn) % BLOCK == 0:
      self._images = np.zeros(len(self._lists), np.int64)
    odds = draw_probabilities(self._images) * self._possible
    c = int(self._rng.choice(len(odds), p=odds / odds.sum()))
    if self._cursors[c] == len(self._lists[c]):
      self._cursors[c], self._lists[c] = 0, self._rng.permutation(self._lists[c])
    image = int(self._lists[c][self._cursors[c]])
    self._cursors[c] += 1
    self._images += self._holds[image]
    return image
