"""The meaning of the values in a label file: from ids or colors to train ids."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import IGNORE

UNKNOWN = 254  # marks unknown values in a table; so there are at most 254 classes
SHOWN = 8  # the number of values that an error lists

Color = Sequence[int]


@dataclasses.dataclass(frozen=True, eq=False)
class Coding:
  """The values of label files and their train ids.

  Attributes:
    table: uint8 [values] of train ids; 255 for values to ignore, 254 for values that must not occur.
    read: Reads a label file as integers [H,W].
    show: Writes a value as a person would.
    fields: The settings that name the values of classes and the values to ignore.
  """

  table: np.ndarray
  read: Callable[[Path], np.ndarray]
  show: Callable[[int], str]
  fields: tuple[str, str]

  def train_ids(self, file: Path) -> np.ndarray:
    """uint8 [H,W], 255 where pixels do not count.

    Raises:
      ValueError: The file is missing or no image, or holds values that the table does not know.
    """
    raw = self.read(file)
    inside = (raw >= 0) & (raw < len(self.table))
    label = np.where(inside, self.table[np.where(inside, raw, 0)], UNKNOWN).astype(np.uint8)
    if (label == UNKNOWN).any():
      unknown = np.unique(raw[label == UNKNOWN])
      shown = ", ".join(map(self.show, unknown[:SHOWN])) + (", …" if len(unknown) > SHOWN else "")
      what = self.fields[0].removeprefix("label_")
      raise ValueError(
        f"{file} holds the {what} {shown}, which are neither in {self.fields[0]} nor in "
        f"{self.fields[1]}."
      )
    return label


def _table(
  classes: Sequence[Sequence[int]],
  ignored: Sequence[int],
  size: int,
  fields: str,
  name: Callable[[int], str],
  hint: str = "",
) -> np.ndarray:
  """The table of a coding, uint8 [size].

  Args:
    classes: The values of each class.
    ignored: The values of pixels that do not count.
    size: One more than the largest value.
    fields: The settings that hold the values, for errors.
    name: Names a value in errors.
    hint: Advice for a value that is both in a class and ignored.

  Raises:
    SettingError: A value is given twice or is out of range.
  """
  train_ids: dict[int, int] = {}
  for train_id, values in [*enumerate(classes), (IGNORE, ignored)]:
    for value in values:
      if not 0 <= value < size:
        raise SettingError((fields,), f": {name(value)} is not in 0..{size - 1}.")
      if value in train_ids:
        both = ", as a class and to be ignored" + hint if train_id == IGNORE else ""
        raise SettingError((fields,), f": {name(value)} is given twice{both}.")
      train_ids[value] = train_id
  table = np.full(size, UNKNOWN, np.uint8)
  table[list(train_ids)] = list(train_ids.values())
  return table


def _read_ids(file: Path) -> np.ndarray:
  """[H,W] label ids; the colors of a palette are ignored."""
  array, mode = image_files.read_values(file)
  if mode not in ("L", "P", "1", "I", "I;16"):
    raise ValueError(
      f"{file} holds colors ({mode}), not one id a pixel; name them in label_colors, or convert it to "
      "grey or palette."
    )
  return array.astype(np.int64)


def by_ids(label_ids: Sequence[int | Sequence[int]], ignore_ids: Sequence[int]) -> Coding:
  """The coding of files with one id per pixel.

  Args:
    label_ids: One id per class, or several.
    ignore_ids: The ids of pixels that do not count.

  Raises:
    SettingError: An id is given twice or is no 16-bit number.
  """
  groups = [ids if isinstance(ids, Sequence) else (ids,) for ids in label_ids]
  name = lambda raw: f"the id {raw}"
  hint = "; ignore_ids = (255,) unless set, () for none"
  table = _table(groups, ignore_ids, 2**16, "label_ids, ignore_ids", name, hint)
  return Coding(table, _read_ids, str, ("label_ids", "ignore_ids"))


def _number(color: Color) -> int:
  red, green, blue = color
  return (red << 16) + (green << 8) + blue


def _color(number: int) -> str:
  return str(tuple(int(number) >> shift & 255 for shift in (16, 8, 0)))


def _read_colors(file: Path) -> np.ndarray:
  """[H,W] colors as numbers; grey and palette images have colors, too."""
  image = image_files.read_image(file).astype(np.int32)
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
  label_colors: Sequence[Color | Sequence[Color]], ignore_colors: Sequence[Color]
) -> Coding:
  """The coding of files where a color stands for a class.

  Args:
    label_colors: One (red, green, blue) per class, or several.
    ignore_colors: The colors of pixels that do not count.

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
  table = _table(groups, ignored, 2**24, "label_colors, ignore_colors", name)
  return Coding(table, _read_colors, _color, ("label_colors", "ignore_colors"))
