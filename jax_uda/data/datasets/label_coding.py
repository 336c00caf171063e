"""What the values in a label file mean: from ids or colours to train ids."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from jax_uda.common.paths import Path
from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import IGNORE

UNKNOWN = 254  # in a table; so there are at most 254 classes
SHOWN = 8  # values that an error lists

Color = Sequence[int]


@dataclasses.dataclass(frozen=True, eq=False)
class Coding:
  """Values of a file and their train ids.

  Attributes:
    table: uint8 [values] of train ids, 255 of values to ignore, 254 of those that should not occur.
    read: From a label file to integers [H,W].
    show: A value as a person writes it.
    fields: What the config calls them.
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
  name: Callable[[int], str],
  hint: str = "",
) -> np.ndarray:
  """uint8 [size]: the train ids of values.

  Args:
    classes: The values of each class.
    ignored: The values of pixels that do not count.
    size: One more than the largest value.
    name: Of a value, in messages.
    hint: What to do about a value that is in both.

  Raises:
    ValueError: A value is given twice or is out of range.
  """
  found: dict[int, int] = {}
  for train_id, values in [*enumerate(classes), (IGNORE, ignored)]:
    for value in values:
      if not 0 <= value < size:
        raise ValueError(f"{name(value)} is not in 0..{size - 1}.")
      if value in found:
        both = ", as a class and to be ignored" + hint if train_id == IGNORE else ""
        raise ValueError(f"{name(value)} is given twice{both}.")
      found[value] = train_id
  table = np.full(size, UNKNOWN, np.uint8)
  table[list(found)] = list(found.values())
  return table


def _read_ids(file: Path) -> np.ndarray:
  """[H,W] label ids; a palette's colours do not count."""
  array, mode = image_files.read_values(file)
  if mode not in ("L", "P", "1", "I", "I;16"):
    raise ValueError(
      f"{file} holds colours ({mode}), not one id a pixel; name them in label_colors, or convert it to "
      "grey or palette."
    )
  return array.astype(np.int64)


def by_ids(
  label_ids: Sequence[int | Sequence[int]], ignore_ids: Sequence[int], field: str
) -> Coding:
  """Of files with one id a pixel.

  Args:
    label_ids: Of each class one id or several.
    ignore_ids: Of pixels that do not count.
    field: Of the config that asks for it.

  Raises:
    ValueError: An id is given twice or is no 16-bit number.
  """
  groups = [ids if isinstance(ids, Sequence) else (ids,) for ids in label_ids]
  name = lambda raw: f"config.{field}.label_ids, ignore_ids: the id {raw}"
  hint = "; ignore_ids = (255,) unless set, () for none"
  table = _table(groups, ignore_ids, 2**16, name, hint)
  return Coding(table, _read_ids, str, ("label_ids", "ignore_ids"))


def _number(color: Color) -> int:
  red, green, blue = color
  return (red << 16) + (green << 8) + blue


def _color(number: int) -> str:
  return str(tuple(int(number) >> shift & 255 for shift in (16, 8, 0)))


def _read_colors(file: Path) -> np.ndarray:
  """[H,W] numbers of colours; grey and palette images have colours, too."""
  image = image_files.read_image(file).astype(np.int32)
  return (image[..., 0] << 16) + (image[..., 1] << 8) + image[..., 2]


def _check_colors(colors: Sequence[Color], field: str) -> list[int]:
  for color in colors:
    fits = isinstance(color, Sequence) and len(color) == 3
    if not fits or not all(isinstance(part, int) and 0 <= part < 256 for part in color):
      raise ValueError(f"config.{field}: {color} is no colour (red, green, blue) in 0..255.")
  return [_number(color) for color in colors]


def by_colors(
  label_colors: Sequence[Color | Sequence[Color]], ignore_colors: Sequence[Color], field: str
) -> Coding:
  """Of files where a colour stands for a class.

  Args:
    label_colors: (red, green, blue) of each class, or several of these.
    ignore_colors: Of pixels that do not count.
    field: Of the config that asks for it.

  Raises:
    ValueError: A colour is given twice or is none.
  """
  is_group = lambda entry: (
    isinstance(entry, Sequence) and all(isinstance(part, Sequence) for part in entry)
  )
  groups = [
    _check_colors(entry if is_group(entry) else [entry], f"{field}.label_colors")
    for entry in label_colors
  ]
  ignored = _check_colors(ignore_colors, f"{field}.ignore_colors")
  name = lambda number: f"config.{field}.label_colors, ignore_colors: the colour {_color(number)}"
  table = _table(groups, ignored, 2**24, name)
  return Coding(table, _read_colors, _color, ("label_colors", "ignore_colors"))
