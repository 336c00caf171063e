"""From the values that a file stores to 8 bits: which bands are shown, and which range of them."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import image_headers
from jax_uda.data.datasets.image_headers import Refused

PERCENTILE = "percentile"  # a setting: the range is taken from the training images
PERCENTS = (2.0, 98.0)
STATISTIC_IMAGES = 500  # at most, evenly spaced
STATISTIC_PIXELS = 2**14  # of an image, at most, evenly spaced


@dataclasses.dataclass(frozen=True)
class Reading:
  """How image files are read.

  Attributes:
    bands: Numbers of the bands, from 1, that are red, green and blue, or of one band that is grey;
      empty: those of the file, which has 1, 3 or 4 bands (the fourth is left out).
    value_range: (low, high) values that become 0 and 255, one pair or one per band; empty: all that
      8 or 16 bits can hold.
    max_pixels: The largest number of pixels of an image or a label.
  """

  bands: tuple[int, ...] = ()
  value_range: tuple[tuple[float, float], ...] = ()
  max_pixels: int = image_headers.MAX_PIXELS

  @property
  def is_plain(self) -> bool:
    """Whether colors are those of the file."""
    return not self.bands and not self.value_range


class Stored(NamedTuple):
  """The values of an image file, upright.

  Attributes:
    values: [H,W,1] grey or [H,W,3] red, green, blue; bands are chosen.
    top: The largest value that such a file can hold, e.g. 65535; 0 for floats and signed numbers.
    nodata: The value of pixels without data, or None.
  """

  values: np.ndarray
  top: int
  nodata: float | None = None

  @property
  def valid(self) -> np.ndarray:
    """bool [H,W]: where there is data in all bands."""
    is_valid = np.ones(self.values.shape, bool)
    if self.values.dtype.kind == "f":
      is_valid &= np.isfinite(self.values)
    if self.nodata is not None:
      is_valid &= self.values != self.nodata
    return np.logical_and.reduce(is_valid, axis=-1)


def check_bands(bands: Any) -> tuple[int, ...]:
  """The setting `bands`; raises SettingError unless it is (), or 1 or 3 numbers from 1."""
  numbers = tuple(bands) if isinstance(bands, Sequence) and not isinstance(bands, str) else None
  integer = lambda band: isinstance(band, int) and not isinstance(band, bool)
  if numbers is None or len(numbers) not in (0, 1, 3) or not all(map(integer, numbers)):
    numbers = None
  if numbers is None or min(numbers, default=1) < 1:
    raise SettingError(
      "bands",
      f"= {bands!r} must be the numbers of red, green and blue, counted from 1, e.g. (3, 2, 1), or of one "
      "band, e.g. (4,).",
    )
  return numbers


def check_range(value_range: Any) -> tuple[tuple[float, float], ...]:
  """The setting `value_range`, if it is not `PERCENTILE`, as pairs.

  Raises:
    SettingError: It is none of (), (low, high), and three of these pairs.
  """
  pairs: Any = value_range
  if isinstance(pairs, Sequence) and len(pairs) == 2 and not isinstance(pairs[0], Sequence):
    pairs = (pairs,)
  fits = isinstance(pairs, Sequence) and not isinstance(pairs, str) and len(pairs) in (0, 1, 3)
  if not fits or not all(_is_range(pair) for pair in pairs):
    raise SettingError(
      "value_range",
      f"= {value_range!r} must be (low, high), e.g. (0, 3000), one such pair for each of three bands, or "
      f"{PERCENTILE!r}.",
    )
  return tuple((float(low), float(high)) for low, high in pairs)


def _is_range(pair: Any) -> bool:
  number = lambda end: isinstance(end, int | float) and math.isfinite(end)
  return (
    isinstance(pair, Sequence) and len(pair) == 2 and all(map(number, pair)) and pair[0] < pair[1]
  )


def choose_bands(values: np.ndarray, bands: Sequence[int]) -> np.ndarray:
  """[H,W,D] -> [H,W,1] or [H,W,3]: the chosen bands, or those that are grey or red, green and blue.

  Raises:
    Refused: There is no such band, or no band is chosen of many.
  """
  number = values.shape[-1]
  if bands:
    if max(bands) > number:
      raise Refused(f"has {number} bands, so that there is no band {max(bands)}; see bands.")
    return values[..., [band - 1 for band in bands]]
  if number in (1, 3):
    return values
  if number == 4:  # the fourth is alpha or infrared
    return values[..., :3]
  raise Refused(f"has {number} bands; name three with bands=(3, 2, 1), or one with bands=(1,).")


def to_8_bits(stored: Stored, value_range: Sequence[tuple[float, float]]) -> np.ndarray:
  """uint8 [H,W,3] RGB. Pixels without data are 0 where there is a range.

  Raises:
    Refused: The range of the values is not known.
  """
  values = stored.values
  if value_range:
    low, high = np.array(value_range, np.float32).T
    with np.errstate(invalid="ignore", over="ignore"):
      unit = (values.astype(np.float32) - low) / (high - low)
      values = np.where(stored.valid[..., None], np.clip(np.nan_to_num(unit), 0, 1) * 255 + 0.5, 0)
    values = values.astype(np.uint8)
  elif stored.top not in range(1, 2**16):
    raise Refused(
      f"holds {values.dtype}, whose range is unknown; set value_range=(low, high) or 'percentile' of the "
      "data set, or convert it to 8 or 16 bits."
    )
  elif stored.top != 255:
    table = np.round(np.arange(stored.top + 1) * (255 / stored.top)).astype(np.uint8)
    values = table[np.minimum(values, stored.top)]
  return np.ascontiguousarray(np.broadcast_to(values, (*values.shape[:2], 3)))


def sample(stored: Stored) -> np.ndarray:
  """float32 [N,D]: at most `STATISTIC_PIXELS` pixels with data, evenly spaced."""
  rows, columns = np.nonzero(stored.valid)
  step = max(len(rows) // STATISTIC_PIXELS, 1)
  return stored.values[rows[::step], columns[::step]].astype(np.float32)


def percentile_range(samples: Iterable[np.ndarray]) -> tuple[tuple[float, float], ...]:
  """The range between the percentiles `PERCENTS` of all samples [N,D], per band.

  Raises:
    ValueError: There are no pixels with data, or images differ in their numbers of bands.
  """
  every = [pixels for pixels in samples if len(pixels)]
  if len({pixels.shape[1] for pixels in every}) != 1:
    raise ValueError(
      "value_range = 'percentile' needs training images with data and with one number of bands; choose "
      "bands=(3, 2, 1)."
    )
  low, high = np.percentile(np.concatenate(every), PERCENTS, axis=0)
  high = np.maximum(high, low + 1e-6 * np.maximum(abs(low), 1))  # a band of one value
  return tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
