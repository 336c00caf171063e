"""The classes of a task: names, colours, subsets, and tables from raw label ids.

Inside the library a label is a uint8 train id 0..C-1, or 255 = ignore. A table is a uint8 [256] array;
`table[raw]` turns a raw label map into train ids.
"""

import dataclasses
import types
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

IGNORE = 255


@dataclasses.dataclass(frozen=True, eq=False)
class LabelSpace:
  """The classes of a task.

  Attributes:
    name: What messages call it.
    names: Class names in the order of the train ids.
    palette: [C, 3] uint8 RGB.
    subsets: Named selections of train ids. `things` are the classes of countable objects, on which
      DAFormer's feature distance is taken; `16` and `13` are the classes of SYNTHIA scores.
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
  """Raw ids in the order of their train ids -> uint8 [256], 255 for all other raw ids.

  Args:
    raw_ids: Of each class one id or several.
  """
  ids = np.full(256, IGNORE, np.uint8)
  for train_id, raw_id in enumerate(raw_ids):
    ids[np.array(raw_id)] = train_id
  return ids


def _label_space(name, rows, **subsets) -> LabelSpace:
  names, colors = zip(*rows, strict=True)
  return LabelSpace(name, names, np.array(colors, np.uint8), types.MappingProxyType(subsets))


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

# CamVid in SegNet's form: its colours, in the words of Cityscapes.
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
  """The classes of a subset of Cityscapes' as classes of their own."""
  ids = CITYSCAPES19.subsets[subset]
  rows = [(CITYSCAPES19.names[i], CITYSCAPES19.palette[i]) for i in ids]
  within = {
    key: tuple(ids.index(i) for i in CITYSCAPES19.subsets[key] if i in ids)
    for key in ("13", "things")
  }
  return _label_space(name, rows, **within)


SYNTHIA16 = _selection("SYNTHIA (16 classes)", "16")
SYNTHIA13 = _selection("SYNTHIA (13 classes)", "13")

# What configs call them.
KNOWN = {
  "cityscapes19": CITYSCAPES19,
  "synthia16": SYNTHIA16,
  "synthia13": SYNTHIA13,
  "camvid11": CAMVID11,
}

# Classes that another space counts under a different name: CamVid's fences include walls, its signs
# lights, its cars all vehicles, its bicycles their riders; grass is vegetation.
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
  """uint8 [256]: train ids of `source` -> those of `target`, 255 for classes that it does not have."""
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
# 11 is void; other ids do not occur, and the builder rejects them.
CAMVID_IDS = table(range(11))
# Of the 66 ids of Mapillary Vistas 1.2, as VFM-UDA merges them.
MAPILLARY_IDS = table(
  (
    *((13, 24, 41), (2, 15), 17, 6, 3, (45, 47), 48, 50, 30, 29, 27, 19, (20, 21, 22)),
    *(55, 61, 54, 58, 57, 52),
  )
)
# Files that hold train ids already.
TRAIN_IDS = table(range(19))
