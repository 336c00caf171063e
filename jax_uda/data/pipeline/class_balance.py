"""Class-balanced sampling of source images: classes drawn less often so far are drawn more (SPCL)."""

import threading

import numpy as np

BLOCK = 3000  # draws after which the shares start again from 0


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


class BalancedOrder:
  """`order[n]` is the image of draw n: a pure function of the images, the seed and n.

  A class is drawn (`draw_probabilities`), then the next image of its list: in order at first, in
  another order each time the list is used up. Draws are made in turn and remembered (about 40 us each),
  as each depends on those before; threads may share an object.
  """

  def __init__(self, class_counts: np.ndarray, seed: int):
    """Takes the pixels [N,C] of each class in each image, and a seed >= 0.

    Raises:
      ValueError: No image holds a class.
    """
    self._holds = np.asarray(class_counts) > 0  # [N,C]
    self._lists = [np.flatnonzero(column) for column in self._holds.T]
    self._possible = self._holds.any(0)
    if not self._possible.any():
      raise ValueError("config.data.class_balanced: no source image has a label.")
    self._cursors = [0] * len(self._lists)
    self._rng = np.random.default_rng((seed, BLOCK))
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
