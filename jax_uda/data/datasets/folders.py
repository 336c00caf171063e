"""Your own images and labels, described by the config alone.

  config.data.source = dict(
    name="folders", path="~/fields",
    train=("train/images", "train/labels"), val=("val/images", "val/labels"),
    classes=("soil", "crop", "weed"), label_ids=(0, 1, (2, 3)), ignore_ids=(255,),
    palette=((90, 60, 30), (0, 160, 0), (220, 0, 0)), size=(512, 1024))
  config.data.target = dict(name="folders", …, train=("field_b/images",))  # no labels

Images and labels are paired by their path below their folders, without its ending: `images/a/7.jpg` and
`labels/a/7.png`; `image_suffix` and `label_suffix` name what else differs, as in Cityscapes'
`…_leftImg8bit.png` and `…_gtFine_labelIds.png`. Where colors stand for classes, `label_colors` and
`ignore_colors` take the place of the ids.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces
from jax_uda.data.datasets import from_files, image_files, label_coding, stores
from jax_uda.data.datasets.label_coding import Coding, Color
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.data.roles import Role

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
LABEL_ENDINGS = (".png", ".tif", ".tiff", ".bmp")  # formats without loss


def files(
  folder: Path, endings: Sequence[str] = IMAGE_ENDINGS, suffix: str = ""
) -> dict[str, Path]:
  """Finds the files in and below a folder by their endings; links are followed.

  Args:
    folder: The folder.
    endings: The endings, in lower case.
    suffix: The end of the stems; files with other stems are left out.

  Returns:
    Path below `folder` without suffix and ending -> file, in order of the paths.

  Raises:
    ValueError: Two files differ in nothing but their endings.
  """
  by_key: dict[str, Path] = {}
  for file in paths.files_below(folder, follow_links=True):
    if file.suffix.lower() in endings and file.stem.endswith(suffix):
      key = file.relative_to(folder).with_suffix("").as_posix().removesuffix(suffix)
      if by_key.setdefault(key, file) != file:
        raise ValueError(
          f"{by_key[key]} and {file} have one name but for their endings; move one of them elsewhere, or "
          "tell them apart by a suffix of the stems."
        )
  return by_key


def find(
  root: Path, folders: Sequence[str], *, image_suffix: str = "", label_suffix: str = ""
) -> list[Pair]:
  """The pairs of (image folder, label folder), or the images of (image folder,), in order of name.

  The label file of a pair need not exist; `check_labels` finds missing ones.

  Args:
    root: The folder that `folders` start from.
    folders: (image folder, label folder) or (image folder,).
    image_suffix: The end of the image files' stems.
    label_suffix: The end of the label files' stems.

  Raises:
    SettingError: A folder is missing or holds no image.
    ValueError: Two files differ in nothing but their endings.
  """
  for folder in folders:
    if not (root / folder).is_dir():
      raise SettingError((), f": there is no folder {root / folder}.")
  images = files(root / folders[0], IMAGE_ENDINGS, image_suffix)
  if not images:
    ending = f"{image_suffix}{{{','.join(IMAGE_ENDINGS)}}}"
    raise SettingError((), f": no image *{ending} in or below {root / folders[0]}.")
  if len(folders) == 1:
    return [Pair(image) for image in images.values()]
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
  """Image [H,W,3] RGB and label [H,W] of train ids, both uint8; the label is 255 if there is no file.

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


def make_label_space(
  classes: str | Sequence[str], palette: Sequence[Sequence[int]] = ()
) -> LabelSpace:
  """The known label space of a name, or a new one.

  Args:
    classes: A key of `label_spaces.KNOWN`, or class names in the order of the train ids.
    palette: One color (red, green, blue) per class; empty: colors are chosen.

  Raises:
    SettingError: The name is unknown, or names or colors do not fit.
  """
  if isinstance(classes, str):
    return registry.lookup(label_spaces.KNOWN, classes, ("classes",))
  names = tuple(classes)
  if not 2 <= len(set(names)) == len(names) < label_coding.UNKNOWN:
    raise SettingError(
      "classes", f"= {names} must be 2 to {label_coding.UNKNOWN - 1} different names."
    )
  colors = np.array(list(palette) or label_spaces.distinct_colors(len(names)))
  if colors.shape != (len(names), 3) or colors.min() < 0 or colors.max() > 255:
    raise SettingError(
      "palette",
      f"must be {len(names)} colors (red, green, blue) in 0..255, one for each class; given are "
      f"{len(palette)}.",
    )
  title = f"{', '.join(names[:4])}{', …' if len(names) > 4 else ''} ({len(names)} classes)"
  return label_spaces.make(title, names, colors)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Description:
  """All that a config says about a data set of folders.

  Attributes:
    path: The folder that `train` and `val` start from.
    train: (image folder, label folder), or (image folder,) for a target. Needed unless the data set is
      for evaluation alone.
    val: (image folder, label folder) for evaluation, or (image folder,), which gives no score.
    classes: Names in the order of the classes, or a key of `label_spaces.KNOWN`.
    label_ids: The id of each class in the label files, or several ids; empty: 0, 1, 2, ….
    ignore_ids: Ids of pixels that do not count. All other ids are errors.
    label_colors: The color (red, green, blue) of each class in the label files, or several colors;
      empty: label files hold ids.
    ignore_colors: Colors of pixels that do not count. All other colors are errors.
    palette: One color (red, green, blue) per class for pictures; empty: colors are chosen.
    image_suffix: The end of the stems of image files; others are left out.
    label_suffix: The end of the stems of label files.
    size: (height, width) in pixels into which images are fitted, keeping their ratio; () leaves them
      as they are. Labels of `val` keep their size.
  """

  path: str
  train: Sequence[str] = ()
  val: Sequence[str]
  classes: str | Sequence[str]
  label_ids: Sequence[int | Sequence[int]] = ()
  ignore_ids: Sequence[int] = (255,)
  label_colors: Sequence[Color | Sequence[Color]] = ()
  ignore_colors: Sequence[Color] = ()
  palette: Sequence[Sequence[int]] = ()
  image_suffix: str = ""
  label_suffix: str = ""
  size: Sequence[int] = ()

  def parts(self, role: Role) -> dict[str, Sequence[str]]:
    """The folders of each split that is read in this role; raises SettingError if they are not folders.

    The label folder of a target's training images is not among them.
    """
    parts: dict[str, Sequence[str]] = {"train": self.train, "val": self.val}
    if not role.is_trained_on:
      del parts["train"]
    for name, folders in parts.items():
      if isinstance(folders, str) or len(folders) not in (1, 2):
        raise SettingError(
          name,
          f"= {folders!r} must be (image folder, label folder) or, without labels, (image folder,).",
        )
    if role is Role.TARGET:
      parts["train"] = parts["train"][:1]
    return parts

  def coding(self, num_classes: int) -> tuple[Coding, tuple[tuple, tuple]]:
    """The coding of the label files, and the values that it knows: those of classes, those to ignore.

    Raises:
      SettingError: The values do not fit each other or the classes.
    """
    if self.label_colors and self.label_ids:
      raise SettingError((), ": give label_ids or label_colors, not both.")
    if self.ignore_colors and not self.label_colors:
      raise SettingError("ignore_colors", "needs label_colors: the color of each class.")
    values = tuple(self.label_colors or self.label_ids) or tuple(range(num_classes))
    if len(values) != num_classes:
      name = "label_colors" if self.label_colors else "label_ids"
      raise SettingError(name, f"has {len(values)} entries for {num_classes} classes.")
    if self.label_colors:
      ignored = tuple(self.ignore_colors)
      return label_coding.by_colors(self.label_colors, ignored), (values, ignored)
    ids = self.label_ids or range(num_classes)
    return label_coding.by_ids(ids, self.ignore_ids), (values, tuple(self.ignore_ids))


class Folders(from_files.FromFiles, skip_registration=True):
  """Images and labels from folders, at a working size."""

  def write(self, *, skip: bool) -> None:
    """Writes the data set on all cores; missing labels are named before anything takes time."""
    if not skip:
      check_labels([pair for split in self.settings.pairs.values() for pair in split])
    super().write(skip=skip)


def builder(data_dir: Path, role: Role, *, store: str = "auto", **description: Any) -> Folders:
  """The data set of this description below `data_dir`, prepared or not.

  Args:
    data_dir: The folder of all prepared data sets.
    role: What the data set is used for. A label folder of a target's training images is not opened;
      for evaluation there are no training images.
    store: One of `stores.STORES`: whether images are stored resized or as their files are.
    **description: The fields of `Description`.

  Raises:
    SettingError: Folders are missing, or settings do not fit.
  """
  about = registry.call(Description, (), **description)
  parts = about.parts(role)
  space = make_label_space(about.classes, about.palette)
  coding, meaning = about.coding(space.num_classes)
  size = from_files.check_size(about.size)
  root = paths.absolute(about.path, "path")
  suffixes = dict(image_suffix=about.image_suffix, label_suffix=about.label_suffix)

  def find_all() -> from_files.Splits:
    splits = {}
    for split, folders in parts.items():
      with registry.within(split):
        splits[split] = find(root, folders, **suffixes)
    return splits

  config = from_files.Config(
    name=from_files.make_name(size, str(root), parts, suffixes, space.names, *meaning),
    find=find_all,
    read=lambda pair: read(pair, coding),
    size=size,
  )
  dataset = stores.choose(lambda config: Folders("folders", data_dir, config, space), config, store)
  dataset.find_pairs()  # so that missing folders are named at once
  return dataset
