"""Your own images and labels, described by the config alone.

  config.data.source = dict(
    name="folders", path="~/fields",
    train=("train/images", "train/labels"), val=("val/images", "val/labels"),
    classes=("soil", "crop", "weed"), label_ids=(0, 1, (2, 3)), ignore_ids=(255,),
    palette=((90, 60, 30), (0, 160, 0), (220, 0, 0)), size=(512, 1024))
  config.data.target = dict(name="folders", …, train=("field_b/images",))  # no labels

Images and labels are paired by their path below their folders, without its ending: `images/a/7.jpg` and
`labels/a/7.png`; `image_suffix` and `label_suffix` name what else differs, as in Cityscapes'
`…_leftImg8bit.png` and `…_gtFine_labelIds.png`.
"""

import colorsys
import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jax_uda import options
from jax_uda.data import label_spaces, paths
from jax_uda.data.builders import from_files, image_files
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.paths import Path

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_ENDINGS = (".png", ".tif", ".tiff", ".bmp")  # without loss
# Label spaces that need no list of names.
KNOWN_CLASSES = label_spaces.KNOWN

_UNKNOWN = 254  # in a table of raw ids; so there are at most 254 classes


class Pair(NamedTuple):
  """An image file and its label file; None: without labels."""

  image: Path
  label: Path | None

  @property
  def files(self) -> list[Path]:
    """Those that it has."""
    return [file for file in self if file]


def files(
  folder: Path, endings: Sequence[str] = IMAGE_ENDINGS, suffix: str = ""
) -> dict[str, Path]:
  """Path below `folder` without suffix and ending -> file, in order of the paths.

  Raises:
    ValueError: Two files have the same path but for their endings.
  """
  found: dict[str, Path] = {}
  for file in paths.files_below(folder):
    if file.suffix.lower() in endings and file.stem.endswith(suffix):
      key = file.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
      if found.setdefault(key, file) != file:
        raise ValueError(
          f"{found[key]} and {file} have one name but for their endings; move one of them elsewhere, or "
          "tell them apart by a suffix of the stems."
        )
  return found


def find(
  root: Path,
  folders: Sequence[str],
  field: str,
  *,
  image_suffix: str = "",
  label_suffix: str = "",
) -> list[Pair]:
  """The pairs of (image folder, label folder) or of (image folder,), in order of name.

  The label file of a pair need not be there; `check_labels` finds those.

  Raises:
    ValueError: A folder is missing or holds no image, or two files differ in their endings only.
  """
  for folder in folders:
    if not (root / folder).is_dir():
      raise ValueError(f"config.{field}: there is no folder {root / folder}.")
  images = files(root / folders[0], IMAGE_ENDINGS, image_suffix)
  if not images:
    ending = f"{image_suffix}{{{','.join(IMAGE_ENDINGS)}}}"
    raise ValueError(f"config.{field}: no image *{ending} in or below {root / folders[0]}.")
  if len(folders) == 1:
    return [Pair(image, None) for image in images.values()]
  labels = files(root / folders[1], LABEL_ENDINGS, label_suffix)
  absent = lambda key: root / folders[1] / f"{key}{label_suffix}.png"
  return [Pair(image, labels.get(key, absent(key))) for key, image in images.items()]


def check_labels(pairs: Sequence[Pair]) -> None:
  """Raises ValueError if label files are missing; names the first and counts all."""
  missing = [pair for pair in pairs if pair.label and not pair.label.is_file()]
  if missing:
    raise ValueError(
      f"{len(missing)} of {len(pairs)} images have no label, the first is {missing[0].image}: "
      f"expected {missing[0].label}. --mode=check_data lists them all."
    )


def _raw_ids(file: Path) -> np.ndarray:
  """[H,W] label ids; a palette's colours do not count."""
  array, mode = image_files.read_values(file)
  if mode not in ("L", "P", "1", "I", "I;16"):
    raise ValueError(
      f"{file} holds colours ({mode}), not one id a pixel; convert it to grey or palette."
    )
  return array.astype(np.int64)


def read(pair: Pair, id_table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] RGB and label [H,W] of train ids, both uint8; all 255 without a label file.

  Args:
    pair: The files.
    id_table: As `make_table` makes it.

  Raises:
    ValueError: A file is missing or no image, or the label has another size than the image or ids
      that the table does not know.
  """
  image = image_files.read_image(pair.image)
  if pair.label is None:
    return image, np.full(image.shape[:2], IGNORE, np.uint8)
  raw = _raw_ids(pair.label)
  if raw.shape != image.shape[:2]:
    raise ValueError(f"{pair.label} has size {raw.shape}, its image {image.shape[:2]}.")
  inside = (raw >= 0) & (raw < len(id_table))
  label = np.where(inside, id_table[np.where(inside, raw, 0)], _UNKNOWN).astype(np.uint8)
  if (label == _UNKNOWN).any():
    unknown = np.unique(raw[label == _UNKNOWN])
    shown = ", ".join(map(str, unknown[:8])) + (", …" if len(unknown) > 8 else "")
    raise ValueError(
      f"{pair.label} holds the ids {shown}, which are neither in label_ids nor in ignore_ids."
    )
  return image, label


def make_table(
  label_ids: Sequence[int | Sequence[int]], ignore_ids: Sequence[int], field: str
) -> np.ndarray:
  """uint8 [65536]: train id, 255 of ids to ignore, or a mark for ids that should not occur.

  Raises:
    ValueError: An id is given twice or is no 16-bit number.
  """
  groups = [
    (ids, train_id) if isinstance(ids, Sequence) else ((ids,), train_id)
    for train_id, ids in enumerate(label_ids)
  ]
  found: dict[int, int] = {}
  for ids, train_id in [*groups, (tuple(ignore_ids), IGNORE)]:
    for raw in ids:
      if raw in found or not 0 <= raw < 2**16:
        what = "is given twice" if raw in found else "is not in 0..65535"
        if raw in found and train_id == IGNORE:
          what += ", as a class and to be ignored; ignore_ids = (255,) unless set, () for none"
        raise ValueError(f"config.{field}.label_ids, ignore_ids: the id {raw} {what}.")
      found[raw] = train_id
  table = np.full(2**16, _UNKNOWN, np.uint8)
  table[list(found)] = list(found.values())
  return table


def _distinct_colors(number: int) -> list[tuple[int, ...]]:
  """Colours whose hues are far apart, of classes that have none."""
  hue = lambda k: (k * 0.618034) % 1
  return [
    tuple(round(255 * c) for c in colorsys.hsv_to_rgb(hue(k), 0.55 + 0.4 * (k % 2), 0.9))
    for k in range(number)
  ]


def make_label_space(
  classes: str | Sequence[str], palette: Sequence[Sequence[int]], field: str
) -> LabelSpace:
  """The known classes of that name, or classes of these names and colours.

  Raises:
    ValueError: Names or colours do not fit.
  """
  if isinstance(classes, str):
    return options.lookup(KNOWN_CLASSES, classes, f"{field}.classes")
  names = tuple(classes)
  if not 2 <= len(set(names)) == len(names) < _UNKNOWN:
    raise ValueError(
      f"config.{field}.classes = {names} must be 2 to {_UNKNOWN - 1} different names."
    )
  colors = np.array(list(palette) or _distinct_colors(len(names)))
  if colors.shape != (len(names), 3) or colors.min() < 0 or colors.max() > 255:
    raise ValueError(
      f"config.{field}.palette must be {len(names)} colours (red, green, blue) in 0..255, one for each "
      f"class; given are {len(palette)}."
    )
  title = f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''} ({len(names)} classes)"
  return LabelSpace(title, names, colors.astype(np.uint8), {})


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(from_files.Config):
  """The files of each split, what their ids mean, and the bound of their size, if any."""

  id_table: np.ndarray


class Folders(from_files.FromFiles, skip_registration=True):
  """Images and labels from folders, reduced to a working size."""

  def __init__(self, data_dir: Path, config: Config, label_space: LabelSpace):
    self.label_space = label_space
    super().__init__(data_dir, config)

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image and label at full size; see the function `read`."""
    return read(pair, self.builder_config.id_table)

  def write(self, *, skip: bool) -> None:
    """Writes it on all cores, or continues to; missing labels are named before anything takes time."""
    if not skip:
      check_labels([pair for split in self.builder_config.pairs.values() for pair in split])
    super().write(skip=skip)


def builder(
  data_dir: Path,
  field: str,
  *,
  path: str,
  train: Sequence[str] = (),
  val: Sequence[str],
  classes: str | Sequence[str],
  label_ids: Sequence[int | Sequence[int]] = (),
  ignore_ids: Sequence[int] = (255,),
  palette: Sequence[Sequence[int]] = (),
  image_suffix: str = "",
  label_suffix: str = "",
  size: Sequence[int] = (),
) -> Folders:
  """The data set with these parameters below `data_dir`, prepared or not.

  Args:
    data_dir: Where prepared data sets are kept.
    field: Of the config that asks for it; of `eval.targets…`, `val` alone is prepared.
    path: Folder that the next two start from.
    train: (image folder, label folder), or (image folder,) of a target without labels. Needed unless
      the data set is for evaluation alone.
    val: Likewise, for evaluation, where labels make the score.
    classes: Names in the order of the classes, or `cityscapes19` or `camvid11`.
    label_ids: The id of each class in the label files, or several ids; empty: 0, 1, 2, ….
    ignore_ids: Ids of pixels that do not count. All other ids are errors.
    palette: (red, green, blue) of each class; empty: chosen for you.
    image_suffix: End of the stems of image files; others are left out.
    label_suffix: End of the stems of label files.
    size: (height, width) in pixels into which images are fitted, keeping their ratio; empty: as they
      are. Labels of `val` keep their size.

  Raises:
    ValueError: Folders are missing, or settings do not fit; named in the message.
  """
  parts = {"val": val} if field.startswith("eval.targets") else {"train": train, "val": val}
  for name, folders in parts.items():
    if isinstance(folders, str) or len(folders) not in (1, 2):
      raise ValueError(
        f"config.{field}.{name} = {folders!r} must be (image folder, label folder) or, without labels, "
        "(image folder,)."
      )
  space = make_label_space(classes, palette, field)
  label_ids = tuple(label_ids) or tuple(range(space.num_classes))
  if len(label_ids) != space.num_classes:
    raise ValueError(
      f"config.{field}.label_ids has {len(label_ids)} entries for {space.num_classes} classes."
    )
  table = make_table(label_ids, ignore_ids, field)
  size = from_files.check_size(size, f"{field}.size")
  root = paths.absolute(path, f"config.{field}.path")
  suffixes = dict(image_suffix=image_suffix, label_suffix=label_suffix)
  settings = (str(root), parts, suffixes, space.names, label_ids, tuple(ignore_ids))
  find_all = lambda: {
    split: find(root, folders, f"{field}.{split}", **suffixes) for split, folders in parts.items()
  }
  name = from_files.make_name(size, *settings)
  made = Folders(data_dir, Config(name=name, find=find_all, id_table=table, size=size), space)
  made.find_pairs()  # so that missing folders are named at once
  return made
