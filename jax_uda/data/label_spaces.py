"""The classes of a task: names, colors, subsets, and tables from raw label ids.

Inside the library a label is a uint8 train id 0..C-1, or 255 = ignore. A table is a uint8 [256] array;
`table[raw]` turns a map of raw label ids into train ids.
"""

import colorsys
import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

IGNORE = 255


@dataclasses.dataclass(frozen=True, eq=False)
class LabelSpace:
  """The classes of a task.

  Attributes:
    name: The name in messages.
    names: Class names in the order of the train ids.
    palette: [C, 3] uint8 RGB, one color per class.
    subsets: Selections of train ids by name; tables have a mean IoU of each. `things` are the classes of
      countable objects, `16` and `13` the classes of SYNTHIA's scores.
  """

  name: str
  names: tuple[str, ...]
  palette: np.ndarray
  subsets: Mapping[str, tuple[int, ...]]

  @property
  def num_classes(self) -> int:
    """The number of classes C."""
    return len(self.names)


def table(raw_ids: Iterable[int | Sequence[int]]) -> np.ndarray:
  """A table from raw ids to train ids: uint8 [256], 255 for raw ids that are not named.

  Args:
    raw_ids: One raw id per class, or several, in the order of the train ids.
  """
  ids = np.full(256, IGNORE, np.uint8)
  for train_id, raw_id in enumerate(raw_ids):
    ids[np.array(raw_id)] = train_id
  return ids


def make(
  name: str,
  names: Sequence[str],
  palette: Sequence[Sequence[int]] | np.ndarray | None = None,
  **subsets: tuple[int, ...],
) -> LabelSpace:
  """Makes a label space from class names.

  Args:
    name: The name in messages, e.g. "Farm (3 classes)".
    names: C class names in the order of the train ids.
    palette: C colors (red, green, blue) in 0..255; None chooses colors of different hues.
    **subsets: Selections of train ids by name, e.g. `things=(1, 2)`.

  Raises:
    ValueError: There is not one color per class.

  >>> make("Farm", ("soil", "crop")).num_classes
  2
  """
  colors = np.array(distinct_colors(len(names)) if palette is None else palette)
  if colors.shape != (len(names), 3):
    raise ValueError(f"palette has shape {colors.shape}; expected {(len(names), 3)}")
  return LabelSpace(name, tuple(names), colors.astype(np.uint8), types.MappingProxyType(subsets))


def distinct_colors(number: int) -> list[tuple[int, ...]]:
  """`number` colors (red, green, blue) whose hues are far apart."""
  hue = lambda k: (k * 0.618034) % 1
  return [
    tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue(k), 0.55 + 0.4 * (k % 2), 0.9))
    for k in range(number)
  ]


def _label_space(
  name: str, rows: Iterable[tuple[str, Sequence[int]]], **subsets: tuple[int, ...]
) -> LabelSpace:
  """A label space from rows (class name, color)."""
  names, colors = zip(*rows, strict=True)
  return make(name, names, colors, **subsets)


CITYSCAPES19 = _label_space(
  "Cityscapes (19 classes)",
  (
    ("road", (128, 64, 128)),
    ("sidewalk", (244, 35, 232)),
    ("building", (70, 70, 70)),
    ("wall", (102, 102, 156)),
    ("fence", (190, 153, 153)),
    ("pole", (153, 153, 153)),
    ("traffic light", (250, 170, 30)),
    ("traffic sign", (220, 220, 0)),
    ("vegetation", (107, 142, 35)),
    ("terrain", (152, 251, 152)),
    ("sky", (70, 130, 180)),
    ("person", (220, 20, 60)),
    ("rider", (255, 0, 0)),
    ("car", (0, 0, 142)),
    ("truck", (0, 0, 70)),
    ("bus", (0, 60, 100)),
    ("train", (0, 80, 100)),
    ("motorcycle", (0, 0, 230)),
    ("bicycle", (119, 11, 32)),
  ),
  **{
    "16": (*range(9), 10, 11, 12, 13, 15, 17, 18),
    "13": (0, 1, 2, 6, 7, 8, 10, 11, 12, 13, 15, 17, 18),
    "things": (6, 7, *range(11, 19)),
  },
)

# CamVid in SegNet's form: its colors, and Cityscapes' words for its classes.
CAMVID11 = _label_space(
  "CamVid (11 classes)",
  (
    ("sky", (128, 128, 128)),
    ("building", (128, 0, 0)),
    ("pole", (192, 192, 128)),
    ("road", (128, 64, 128)),
    ("sidewalk", (60, 40, 222)),
    ("vegetation", (128, 128, 0)),
    ("sign", (192, 128, 128)),
    ("fence", (64, 64, 128)),
    ("car", (64, 0, 128)),
    ("person", (64, 64, 0)),
    ("bicycle", (0, 128, 192)),
  ),
  things=(6, 8, 9, 10),
)


def _selection(name: str, subset: str) -> LabelSpace:
  """The label space of a subset of Cityscapes' classes."""
  ids = CITYSCAPES19.subsets[subset]
  rows = [(CITYSCAPES19.names[i], CITYSCAPES19.palette[i]) for i in ids]
  subsets = {
    key: tuple(ids.index(i) for i in CITYSCAPES19.subsets[key] if i in ids)
    for key in ("13", "things")
  }
  return _label_space(name, rows, **subsets)


SYNTHIA16 = _selection("SYNTHIA (16 classes)", "16")
SYNTHIA13 = _selection("SYNTHIA (13 classes)", "13")

# Label spaces by their names in configs.
KNOWN = {
  "cityscapes19": CITYSCAPES19,
  "synthia16": SYNTHIA16,
  "synthia13": SYNTHIA13,
  "camvid11": CAMVID11,
}

# Classes that another label space counts under a different name: in CamVid walls are fences, lights are
# signs, all vehicles are cars, riders are bicycles, and grass is vegetation.
_OTHER_NAMES = {
  CAMVID11.name: {
    "wall": "fence",
    "traffic light": "sign",
    "traffic sign": "sign",
    "terrain": "vegetation",
    "rider": "bicycle",
    "truck": "car",
    "bus": "car",
    "train": "car",
    "motorcycle": "bicycle",
  }
}


def translation(source: LabelSpace, target: LabelSpace) -> np.ndarray:
  """A table from train ids of `source` to those of `target`: uint8 [256], 255 where `target` has no such class."""
  other = _OTHER_NAMES.get(target.name, {"sign": "traffic sign"})
  ids = np.full(256, IGNORE, np.uint8)
  for train_id, name in enumerate(source.names):
    name = name if name in target.names else other.get(name)
    if name in target.names:
      ids[train_id] = target.names.index(name)
  return ids


# Label ids of Cityscapes, which GTA5 shares.
CITYSCAPES_IDS = table((7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33))
# Terrain (16), truck (18) and train (20) are in SYNTHIA's list but in none of its images.
SYNTHIA_IDS = table((3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11))
# 11 is void. Other ids do not occur, and a label file that holds one is refused.
CAMVID_IDS = table(range(11))
# VFM-UDA merges the 66 ids of Mapillary Vistas 1.2 like this.
MAPILLARY_IDS = table(
  (
    *((13, 24, 41), (2, 15), 17, 6, 3, (45, 47), 48, 50, 30, 29, 27, 19, (20, 21, 22)),
    *(55, 61, 54, 58, 57, 52),
  )
)
# The table of files that hold train ids already.
TRAIN_IDS = table(range(19))
