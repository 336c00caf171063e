"""CamVid in SegNet's 11-class form, from a folder of the user's.

The folder holds `train/`, `trainannot/`, and likewise `val` and `test`: images as .png or .jpg, labels as
8-bit .png of the same stem with values 0..10 and 11 = void. The first six letters of a file name
are its sequence: 0001TP was filmed at dusk, 0006R0, 0016E5 and Seq05VD in daylight.
"""

import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.data import label_spaces
from jax_uda.data.datasets import from_files, layouts
from jax_uda.data.datasets import pairs as pairs_lib
from jax_uda.data.label_spaces import LabelSpace

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
VOID = 11


class Pair(NamedTuple):
  """An image file and its label file; None: without label."""

  image: Path
  label: Path | None

  @property
  def files(self) -> list[Path]:
    """Both."""
    return [file for file in self if file]


def find(root: Path, selection: str, field: str, *, labelled: bool = True) -> list[Pair]:
  """The files of a selection `folder` or `folder/prefix`, e.g. `train/0016E5`, in order of name.

  Without `labelled` no label is looked for.

  Raises:
    ValueError: The folder or that of its labels is missing, or nothing matches.
  """
  folder, _, prefix = selection.partition("/")
  for needed in (folder, *([f"{folder}annot"] if labelled else [])):
    if not folder or not (root / needed).is_dir():
      raise ValueError(
        f"config.{field}.path = {str(root)!r} has no folder {needed!r} for the selection {selection!r}; "
        "expected CamVid in SegNet's form: train/, val/, test/ with images and trainannot/, valannot/, "
        "testannot/ with labels."
      )
  images = sorted(
    file
    for file in (root / folder).iterdir()
    if file.suffix.lower() in IMAGE_ENDINGS and file.name.startswith(prefix)
  )
  if not images:
    raise ValueError(f"config.{field}: no .png or .jpg image {prefix}* in {root / folder}.")
  if not labelled:
    return [Pair(image, None) for image in images]
  return [Pair(image, root / f"{folder}annot" / f"{image.stem}.png") for image in images]


def find_splits(
  root: Path, parts: Mapping[str, Sequence[str]], field: str
) -> dict[str, list[Pair]]:
  """Split -> the files of its selections, of a target's `train` without labels; ValueError as in `find`."""
  if not root.is_dir():
    raise ValueError(
      f"config.{field}.path = {str(root)!r} is no folder; expected CamVid in SegNet's form, with folders "
      "train/, trainannot/ and so on."
    )
  return {
    split: [
      pair
      for selection in selections
      for pair in find(root, selection, field, labelled=split != "train" or field != "data.target")
    ]
    for split, selections in parts.items()
  }


def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] RGB and label [H,W] of train ids, both uint8; 255 without a label.

  Raises:
    ValueError: A file is no image, or the label has another size than the image or unknown ids.
  """
  kind = layouts.Labels(".png", label_spaces.CAMVID_IDS, VOID + 1)
  return pairs_lib.read(pairs_lib.Pair(pair.image, pair.label, kind))


class Camvid(from_files.FromFiles, skip_registration=True):
  """Selected sequences of CamVid, reduced to a working size, also for evaluation."""

  full_size_scores = False

  def __init__(self, data_dir: Path, config: from_files.Config, label_space: LabelSpace):
    self.label_space = label_space
    self._translation = label_spaces.translation(label_spaces.CAMVID11, label_space)
    super().__init__(data_dir, config)

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image and label at full size, in the classes asked for; see the function `read`."""
    image, label = read(pair)
    return image, self._translation[label]

  def write(self, *, skip: bool) -> None:
    """Writes it on all cores, or continues to; missing labels are named before anything takes time."""
    for pair in itertools.chain.from_iterable(self.builder_config.pairs.values()):
      if not skip and pair.label and not pair.label.is_file():
        raise ValueError(f"No label for image {pair.image}: expected {pair.label}.")
    super().write(skip=skip)


def builder(
  data_dir: Path,
  field: str,
  *,
  path: str,
  train: Sequence[str] = (),
  val: Sequence[str],
  size: Sequence[int] = (),
  classes: str = "camvid11",
) -> Camvid:
  """The data set with these parameters below `data_dir`, prepared or not.

  Args:
    data_dir: Where prepared data sets are kept.
    field: Of the config that asks for it; of `eval.targets…`, `val` alone is prepared.
    path: Folder of CamVid.
    train: Selections for training, each `folder` or `folder/prefix` of the file names, e.g.
      `("train/0006R0", "train/0016E5")`. Of `config.data.target` the labels are not even opened.
    val: Selections for evaluation, e.g. `("test/0001TP",)`.
    size: (height, width) in pixels into which images are fitted, keeping their ratio; empty: as they
      are.
    classes: One of `label_spaces.KNOWN`; labels are translated, e.g. signs to traffic signs.

  Raises:
    ValueError: Files are missing, or a setting is wrong; named in the message.
  """
  parts = {"val": val} if field.startswith("eval.targets") else {"train": train, "val": val}
  for name, selections in parts.items():
    if isinstance(selections, str) or not selections:
      raise ValueError(
        f"config.{field}.{name} = {selections!r} must be a tuple such as ('train/0006R0',)."
      )
  size = from_files.check_size(size, f"{field}.size")
  space = registry.lookup(label_spaces.KNOWN, classes, f"{field}.classes")
  root = paths.absolute(path, f"config.{field}.path")
  name = from_files.make_name(size, str(root), parts, field == "data.target", classes)
  find_all = functools.partial(find_splits, root, parts, field)
  made = Camvid(data_dir, from_files.Config(name=name, find=find_all, size=size), space)
  made.find_pairs()  # so that missing folders are named at once
  return made
