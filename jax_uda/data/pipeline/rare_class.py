"""Rare class sampling: source images with rare classes are drawn more often (DAFormer, section 3.2).

With pixel counts N_c over the source, f_c = N_c / sum N and P(c) = softmax_c((1 - f_c) / T). A class is
drawn from P, then an image uniformly among those with enough pixels of the class, then crops of the
image until one holds enough pixels of the class. Golden `rcs_*`.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from jax_uda.common.registry import SettingError


@dataclasses.dataclass(frozen=True, kw_only=True)
class RareClassSampling:
  """How rare classes are preferred. Pixels are those of prepared images, except where said.

  Attributes:
    temperature: T > 0 above; the smaller, the more often rare classes come.
    min_pixels: An image is drawn for a class if it has more pixels of the class than this. The public
      data sets count in the label files, at full size, as the reference does.
    crop_min_pixels: A crop is accepted if it has more pixels of the class than this.
    tries: The number of crops that are drawn of an image; the last is used unchecked (DAFormer: 11).
    joint_tries: Whether a try asks for enough pixels of the class and for `cat_max_ratio` at once
      (VFM-UDA); else each try redraws its crop for `cat_max_ratio` first.
  """

  temperature: float = 0.01
  min_pixels: int = 3000
  crop_min_pixels: int = 1500
  tries: int = 11
  joint_tries: bool = False

  def __post_init__(self):
    """Raises SettingError for a temperature that is not positive, or no try at all."""
    if self.temperature <= 0:
      raise SettingError("temperature", f"= {self.temperature} must be > 0.")
    if self.tries < 1:
      raise SettingError("tries", f"= {self.tries} must be at least 1.")


class Table(NamedTuple):
  """Classes, their probabilities, and the images of each class.

  Attributes:
    classes: [K] train ids, the rarest class first.
    prob: [K] float64, whose sum is 1.
    images: Indices of the images of each class: K arrays.
  """

  classes: np.ndarray
  prob: np.ndarray
  images: tuple[np.ndarray, ...]

  def draw(self, rng: np.random.Generator) -> tuple[int, int]:
    """Draws a class and the index of an image with that class."""
    # The same draw as `rng.choice(len(self.classes), p=self.prob)`, without its checks.
    cumulative = np.cumsum(self.prob)
    k = int(np.searchsorted(cumulative / cumulative[-1], rng.random(), side="right"))
    images = self.images[k]
    return int(self.classes[k]), int(images[rng.integers(len(images))])


def class_probabilities(
  class_pixels: np.ndarray, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
  """The classes that occur, the rarest first, and their probabilities.

  Args:
    class_pixels: [F,C] pixels of each class in each image, or [C] totals.
    temperature: T in the formula above.

  Returns:
    Train ids [K] and probabilities float64 [K].
  """
  total = np.asarray(class_pixels, np.int64).reshape(-1, np.shape(class_pixels)[-1]).sum(0)
  classes = np.argsort(total, kind="stable")
  classes = classes[total[classes] > 0]
  logits = (1 - total[classes] / total.sum()) / temperature
  prob = np.exp(logits - logits.max(initial=-np.inf))
  return classes, prob / prob.sum()


def images_with_class(class_pixels: np.ndarray, class_index: int, min_pixels: int) -> np.ndarray:
  """Indices of the images with more than `min_pixels` pixels of a class."""
  return np.flatnonzero(class_pixels[:, class_index] > min_pixels)


def make_table(class_pixels: np.ndarray, *, temperature: float, min_pixels: int) -> Table:
  """Prepares the draws.

  A class that no image has enough pixels of is never drawn; the other classes share its probability.

  Args:
    class_pixels: [F,C] pixels of each class in each image.
    temperature: T in the formula above.
    min_pixels: An image is drawn for a class if it has more pixels of the class than this.

  Raises:
    SettingError: No image has enough pixels of any class.
  """
  classes, prob = class_probabilities(class_pixels, temperature)
  images = [images_with_class(class_pixels, c, min_pixels) for c in classes]
  kept = [k for k, members in enumerate(images) if len(members)]
  if not kept:
    raise SettingError(
      "min_pixels",
      f"= {min_pixels}: no source image has more pixels than that of any class (the most is "
      f"{np.max(class_pixels, initial=0)}); lower it.",
    )
  # A single, very common class may have a probability that is rounded to 0.
  prob = np.maximum(prob[kept], np.finfo(np.float64).tiny)
  return Table(classes[kept], prob / prob.sum(), tuple(images[k] for k in kept))
