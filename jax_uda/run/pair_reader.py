"""Reads the examples of a split one by one for a look at the data, with what is worth knowing of their files."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jax_uda.common.text import shown
from jax_uda.data.datasets import base, image_files, value_range
from jax_uda.data.datasets.from_files import FromFiles
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.examples import LabelledExamples
from jax_uda.data.pipeline.rescale import Size

PICTURE = (96, 160)  # bound of the picture of a bad pair, in pixels
VALUES = 256  # about so many pixels of an image of more than 8 bits are kept


class Example(NamedTuple):
  """An example and its files.

  Attributes:
    name: The name of the image file.
    image: uint8 [H,W,3] RGB.
    label: uint8 [H,W] train ids.
    is_turned: Whether the EXIF orientation turns the image.
    values: float32 [N,D], some of the values that the file stores, if it has more than 8 bits; else None.
    top: The largest value that the file can hold; 0 if that is not known.
  """

  name: str
  image: np.ndarray
  label: np.ndarray
  is_turned: bool = False
  values: np.ndarray | None = None
  top: int = 0


class BadPair(ValueError):
  """A pair that cannot be used.

  Attributes:
    picture: uint8 [H,W,3], its image in a small size; None if that cannot be read.
  """

  def __init__(self, message: str, picture: np.ndarray | None):
    super().__init__(message)
    self.picture = picture


Read = Callable[[int], Example]  # index -> example; raises BadPair


def reader(builder: base.Builder, split: str) -> tuple[int, Read]:
  """The number of examples of a split, and a function that reads one: from the files if there are any.

  A data set that is drawn, or that is prepared and its files are gone, is read as it was prepared.
  """
  if isinstance(builder, FromFiles):
    splits = builder.find_pairs()
    if splits is not None:
      pairs, reading = splits[split], builder.reading  # what it computes is computed once
      del reading
      return len(pairs), lambda i: _read_files(builder, pairs[i])
  examples = LabelledExamples(base.prepare(builder), split)
  return len(examples), lambda i: Example(f"number {i}", examples[i]["image"], examples[i]["label"])


def _read_files(builder: FromFiles, pair: Pair) -> Example:
  try:
    image, label = builder.read(pair)
    if pair.day:
      image_files.read_image(pair.day)  # whether it can be read
    values, top = _deep_values(builder, pair)
    is_turned = image_files.is_turned(pair.image)
    return Example(shown(pair.image.name), image, label, is_turned, values, top)
  except ValueError as error:
    raise BadPair(str(error), _picture(builder, pair)) from None


def _deep_values(builder: FromFiles, pair: Pair) -> tuple[np.ndarray | None, int]:
  """Some values of an image of more than 8 bits, and the largest that it can hold."""
  if not image_files.may_be_deep(pair.image):
    return None, 0
  stored = image_files.read_stored(pair.image, builder.reading)
  if 0 < stored.top <= 255:
    return None, stored.top
  return value_range.sample(stored)[:: value_range.STATISTIC_PIXELS // VALUES], stored.top


def _picture(builder: FromFiles, pair: Pair) -> np.ndarray | None:
  try:
    return reduced(image_files.read_image(pair.image, builder.reading), PICTURE)
  except ValueError:
    return None


def reduced(image: np.ndarray, bound: Size) -> np.ndarray:
  """An image uint8 [H,W,3] in a size that fits `bound`; a smaller one stays as it is."""
  size = rescale.keep_ratio_size((image.shape[0], image.shape[1]), bound)
  return rescale.resize_image(image, size) if size[0] < image.shape[0] else image
