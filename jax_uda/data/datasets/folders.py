"""Your own images and labels, described by the config alone.

  config.data.source = dict(
    name="folders", path="~/fields",
    train=("train/images", "train/labels"), val=("val/images", "val/labels"),
    classes=("soil", "crop", "weed"), label_ids=(0, 1, (2, 3)), ignore_ids=(255,),
    palette=((90, 60, 30), (0, 160, 0), (220, 0, 0)), size=(512, 1024))
  config.data.target = dict(name="folders", …, train=("field_b/images",))  # no labels

Images and labels are paired by their path below their folders, without its ending: `images/a/7.jpg` and
`labels/a/7.png`; `image_suffix` and `label_suffix` name what else differs, as in Cityscapes'
`…_leftImg8bit.png` and `…_gtFine_labelIds.png`. Where colours stand for classes, `label_colors` and
`ignore_colors` take the place of the ids.
"""

import colorsys
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.data import label_spaces
from jax_uda.data.datasets import from_files, image_files, label_coding
from jax_uda.data.datasets.label_coding import Coding
from jax_uda.data.label_spaces import IGNORE, LabelSpace

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_ENDINGS = (".png", ".tif", ".tiff", ".bmp")  # without loss
# Label spaces that need no list of names.
KNOWN_CLASSES = label_spaces.KNOWN


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
  """Path below `folder` without suffix and ending -> file, in order of the paths; links are followed.

  Raises:
    ValueError: Two files have the same path but for their endings.
  """
  found: dict[str, Path] = {}
  for file in paths.files_below(folder, follow_links=True):
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


def read(pair: Pair, coding: Coding) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] RGB and label [H,W] of train ids, both uint8; all 255 without a label file.

  Raises:
    ValueError: A file is missing or no image, or the label has another size than the image or values
      that are unknown.
  """
  image = image_files.read_image(pair.image)
  if pair.label is None:
    return image, np.full(image.shape[:2], IGNORE, np.uint8)
  label = coding.train_ids(pair.label)
  if label.shape != image.shape[:2]:
    raise ValueError(f"{pair.label} has size {label.shape}, its image {image.shape[:2]}.")
  return image, label


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
    return registry.lookup(KNOWN_CLASSES, classes, f"{field}.classes")
  names = tuple(classes)
  if not 2 <= len(set(names)) == len(names) < label_coding.UNKNOWN:
    raise ValueError(
      f"config.{field}.classes = {names} must be 2 to {label_coding.UNKNOWN - 1} different names."
    )
  colors = np.array(list(palette) or _distinct_colors(len(names)))
  if colors.shape != (len(names), 3) or colors.min() < 0 or colors.max() > 255:
    raise ValueError(
      f"config.{field}.palette must be {len(names)} colours (red, green, blue) in 0..255, one for each "
      f"class; given are {len(palette)}."
    )
  title = f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''} ({len(names)} classes)"
  return LabelSpace(title, names, colors.astype(np.uint8), {})


def _make_coding(
  num_classes: int, field: str, label_ids, ignore_ids, label_colors, ignore_colors
) -> tuple[Coding, tuple]:
  """What values mean, and the settings that say so."""
  if label_colors and label_ids:
    raise ValueError(f"config.{field}: give label_ids or label_colors, not both.")
  if ignore_colors and not label_colors:
    raise ValueError(f"config.{field}.ignore_colors needs label_colors: the colour of each class.")
  given = tuple(label_colors or label_ids) or tuple(range(num_classes))
  if len(given) != num_classes:
    name = "label_colors" if label_colors else "label_ids"
    raise ValueError(f"config.{field}.{name} has {len(given)} entries for {num_classes} classes.")
  make, ignored = label_coding.by_ids, tuple(ignore_ids)
  if label_colors:
    make, ignored = label_coding.by_colors, tuple(ignore_colors)
  return make(given, ignored, field), (given, ignored)


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(from_files.Config):
  """The files of each split, what their values mean, and the bound of their size, if any."""

  coding: Coding


class Folders(from_files.FromFiles, skip_registration=True):
  """Images and labels from folders, reduced to a working size."""

  def __init__(self, data_dir: Path, config: Config, label_space: LabelSpace):
    self.label_space = label_space
    super().__init__(data_dir, config)

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image and label at full size; see the function `read`."""
    return read(pair, self.builder_config.coding)

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
  label_colors: Sequence[Any] = (),
  ignore_colors: Sequence[Sequence[int]] = (),
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
    train: (image folder, label folder), or (image folder,) of a target; a label folder of
      `data.target` is not opened. Needed unless the data set is for evaluation alone.
    val: Likewise, for evaluation, where labels make the score.
    classes: Names in the order of the classes, or `cityscapes19` or `camvid11`.
    label_ids: The id of each class in the label files, or several ids; empty: 0, 1, 2, ….
    ignore_ids: Ids of pixels that do not count. All other ids are errors.
    label_colors: (red, green, blue) of each class in the label files, or several of these, where they
      hold colours in place of ids.
    ignore_colors: Colours of pixels that do not count. All other colours are errors.
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
  if field == "data.target":
    parts["train"] = parts["train"][:1]
  space = make_label_space(classes, palette, field)
  coding, meaning = _make_coding(
    space.num_classes, field, label_ids, ignore_ids, label_colors, ignore_colors
  )
  size = from_files.check_size(size, f"{field}.size")
  root = paths.absolute(path, f"config.{field}.path")
  suffixes = dict(image_suffix=image_suffix, label_suffix=label_suffix)
  settings = (str(root), parts, suffixes, space.names, *meaning)
  find_all = lambda: {
    split: find(root, folders, f"{field}.{split}", **suffixes) for split, folders in parts.items()
  }
  name = from_files.make_name(size, *settings)
  made = Folders(data_dir, Config(name=name, find=find_all, coding=coding, size=size), space)
  made.find_pairs()  # so that missing folders are named at once
  return made
