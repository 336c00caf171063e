"""The meaning of the values in a label file: from ids or colors to train ids."""

import collections
import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from jax_uda.common import text
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import IGNORE

UNKNOWN = 254  # marks unknown values in a table; so there are at most 254 classes
SHOWN = 8  # the number of values that an error lists
_PIXELS_AT_ONCE = 2**22  # so that a large label takes little more memory than its file

Color = Sequence[int]


@dataclasses.dataclass(frozen=True, eq=False)
class Coding:
  """The values of label files and their train ids.

  Attributes:
    table: uint8 [values] of train ids; 255 for values to ignore, 254 for values that must not occur.
    read: Reads a label file as integers [H,W].
    show: Writes a value as a person would.
    fields: The settings that name the values of classes and the values to ignore.
    others: Value -> train id of the values that are outside the table, e.g. -1.
  """

  table: np.ndarray
  read: Callable[[Path], np.ndarray]
  show: Callable[[int], str]
  fields: tuple[str, str]
  others: Mapping[int, int] = dataclasses.field(default_factory=dict)

  def train_ids(self, file: Path) -> np.ndarray:
    """uint8 [H,W], 255 where pixels do not count.

    Raises:
      ValueError: The file is missing or no image, or holds values that the table does not know.
    """
    raw = self.read(file)
    label = np.empty(raw.shape, np.uint8)
    step = max(_PIXELS_AT_ONCE // max(raw.shape[1], 1), 1)
    for row in range(0, len(raw), step):
      label[row : row + step] = self._look_up(raw[row : row + step])
    if (label == UNKNOWN).any():
      unknown = np.unique(raw[label == UNKNOWN])
      shown = ", ".join(map(self.show, unknown[:SHOWN])) + (", …" if len(unknown) > SHOWN else "")
      what = self.fields[0].removeprefix("label_")
      raise ValueError(
        f"{text.shown(file)} holds the {what} {shown}, which are neither in {self.fields[0]} nor in "
        f"{self.fields[1]}."
      )
    return label

  def _look_up(self, raw: np.ndarray) -> np.ndarray:
    inside = (raw >= 0) & (raw < len(self.table))
    label = np.where(inside, self.table[np.where(inside, raw, 0)], UNKNOWN)
    for value, train_id in self.others.items():
      label[raw == value] = train_id
    return label

  def histogram(self, files: Iterable[Path]) -> dict[str, float]:
    """Value as a person writes it -> its share of the pixels of some label files, the commonest first.

    Files that cannot be read are left out.
    """
    pixels: collections.Counter[int] = collections.Counter()
    for file in files:
      try:
        values, counts = np.unique(self.read(file), return_counts=True)
      except ValueError:
        continue
      pixels.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    total = pixels.total()
    return {self.show(value): number / total for value, number in pixels.most_common()}


def _assign(
  classes: Sequence[Sequence[int]],
  ignored: Sequence[int],
  fields: str,
  name: Callable[[int], str],
  hint: str = "",
) -> dict[int, int]:
  """Value -> train id.

  Args:
    classes: The values of each class.
    ignored: The values of pixels that do not count.
    fields: The settings that hold the values, for errors.
    name: Names a value in errors.
    hint: Advice for a value that is both in a class and ignored.

  Raises:
    SettingError: A value is given twice.
  """
  train_ids: dict[int, int] = {}
  for train_id, values in [*enumerate(classes), (IGNORE, ignored)]:
    for value in values:
      if value in train_ids:
        both = ", as a class and to be ignored" + hint if train_id == IGNORE else ""
        raise SettingError((fields,), f": {name(value)} is given twice{both}.")
      train_ids[value] = train_id
  return train_ids


def _coding(
  train_ids: Mapping[int, int],
  size: int,
  read: Callable[[Path], np.ndarray],
  show: Callable[[int], str],
  fields: tuple[str, str],
) -> Coding:
  """The coding of values, of which those in 0..size-1 go into a table."""
  table = np.full(size, UNKNOWN, np.uint8)
  others = {value: c for value, c in train_ids.items() if not 0 <= value < size}
  inside = [value for value in train_ids if value not in others]
  table[inside] = [train_ids[value] for value in inside]
  return Coding(table, read, show, fields, others)


def as_ids(array: np.ndarray, file: Path) -> np.ndarray:
  """The ids in the values [H,W] or [H,W,D] of a label file.

  Returns:
    [H,W] integers: int64 of floats that are whole numbers, else the type of the file.

  Raises:
    ValueError: They are colors or fractions; the message names the file.
  """
  if array.ndim == 3:
    kind = {3: "RGB", 4: "RGBA"}.get(array.shape[-1], f"{array.shape[-1]} bands")
    raise ValueError(
      f"{text.shown(file)} holds colors ({kind}), not one id per pixel; name them in label_colors, or "
      "convert it to grey or palette."
    )
  if array.dtype.kind == "f":
    is_whole = np.isfinite(array) & (abs(array) < 2**63) & (array == np.round(array))
    if not is_whole.all():
      value = array[~is_whole].flat[0]
      raise ValueError(
        f"{text.shown(file)} holds {value:g}, which is no id: ids are whole numbers, whatever their type."
      )
    return array.astype(np.int64)
  return array


def _read_ids(file: Path, max_pixels: int) -> np.ndarray:
  """[H,W] label ids; the colors of a palette do not matter."""
  return as_ids(image_files.read_values(file, max_pixels), file)


def by_ids(
  label_ids: Sequence[int | Sequence[int]],
  ignore_ids: Sequence[int],
  max_pixels: int = image_files.MAX_PIXELS,
) -> Coding:
  """The coding of files with one id per pixel.

  Args:
    label_ids: One id per class, or several.
    ignore_ids: The ids of pixels that do not count.
    max_pixels: The largest number of pixels of a file.

  Raises:
    SettingError: An id is given twice or is no whole number.
  """
  groups = [ids if isinstance(ids, Sequence) else (ids,) for ids in label_ids]
  for ids in (*groups, ignore_ids):
    for value in ids:
      integer = isinstance(value, int | np.integer) and not isinstance(value, bool)
      if not integer or not -(2**63) <= value < 2**63:
        raise SettingError(("label_ids, ignore_ids",), f": {value!r} is no whole number.")
  hint = "; ignore_ids = (255,) unless set, () for none"
  train_ids = _assign(
    groups, ignore_ids, "label_ids, ignore_ids", lambda raw: f"the id {raw}", hint
  )
  read = functools.partial(_read_ids, max_pixels=max_pixels)
  return _coding(train_ids, 2**16, read, str, ("label_ids", "ignore_ids"))


def _number(color: Color) -> int:
  red, green, blue = color
  return (red << 16) + (green << 8) + blue


def _color(number: int) -> str:
  return str(tuple(int(number) >> shift & 255 for shift in (16, 8, 0)))


def _read_colors(file: Path, max_pixels: int) -> np.ndarray:
  """[H,W] colors as numbers; grey and palette images have colors, too."""
  image_files.check_lossless(file)
  reading = image_files.Reading(max_pixels=max_pixels)
  image = image_files.read_image(file, reading).astype(np.int32)
  return (image[..., 0] << 16) + (image[..., 1] << 8) + image[..., 2]


def _check_colors(colors: Iterable[Color], field: str) -> list[int]:
  """The colors as numbers; raises SettingError for what is no color."""
  checked = []
  for color in colors:
    fits = isinstance(color, Sequence) and len(color) == 3
    if not fits or not all(isinstance(part, int) and 0 <= part < 256 for part in color):
      raise SettingError(field, f": {color} is no color (red, green, blue) in 0..255.")
    checked.append(_number(color))
  return checked


def by_colors(
  label_colors: Sequence[Color | Sequence[Color]],
  ignore_colors: Sequence[Color],
  max_pixels: int = image_files.MAX_PIXELS,
) -> Coding:
  """The coding of files where a color stands for a class.

  Args:
    label_colors: One (red, green, blue) per class, or several.
    ignore_colors: The colors of pixels that do not count.
    max_pixels: The largest number of pixels of a file.

  Raises:
    SettingError: A color is given twice or is no color.
  """
  is_group = lambda entry: (
    isinstance(entry, Sequence) and all(isinstance(part, Sequence) for part in entry)
  )
  colors_of = lambda entry: entry if is_group(entry) else [entry]
  groups = [_check_colors(colors_of(entry), "label_colors") for entry in label_colors]
  ignored = _check_colors(ignore_colors, "ignore_colors")
  name = lambda number: f"the color {_color(number)}"
  train_ids = _assign(groups, ignored, "label_colors, ignore_colors", name)
  read = functools.partial(_read_colors, max_pixels=max_pixels)
  return _coding(train_ids, 2**24, read, _color, ("label_colors", "ignore_colors"))
