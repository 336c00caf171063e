"""CamVid in SegNet's 11-class form, from a folder of the user's.

The folder holds `train/`, `trainannot/`, and likewise `val` and `test`: images as .png or .jpg, labels as
8-bit .png of the same stem with values 0..10 and 11 = void. The first six letters of a file name
are its sequence: 0001TP was filmed at dusk, 0006R0, 0016E5 and Seq05VD in daylight.
"""

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.data import label_spaces
from jax_uda.data.builders import from_files, layouts
from jax_uda.data.builders import pairs as pairs_lib

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")
VOID = 11


class Pair(NamedTuple):
  """An image file and its label file; None: without label."""

  image: pathlib.Path
  label: pathlib.Path | None

  @property
  def files(self) -> list[pathlib.Path]:
    """Both."""
    return [file for file in self if file]


def find(root: pathlib.Path, selection: str, field: str, *, labelled: bool = True) -> list[Pair]:
  """The files of a selection `folder` or `folder/prefix`, e.g. `train/0016E5`, in order of name.

  Without `labelled` no label is looked for.

  Raises:
    ValueError: The folder, its labels or the label of an image is missing, or nothing matches.
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
  pairs = [Pair(image, root / f"{folder}annot" / f"{image.stem}.png") for image in images]
  for pair in pairs:
    if not pair.label.is_file():
      raise ValueError(f"No label for image {pair.image}: expected {pair.label}.")
  return pairs


def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] RGB and label [H,W] of train ids, both uint8; 255 without a label.

  Raises:
    ValueError: A file is no image, or the label has another size than the image or unknown ids.
  """
  kind = layouts.Labels(".png", label_spaces.CAMVID_IDS, VOID + 1)
  return pairs_lib.read(pairs_lib.Pair(pair.image, pair.label, kind))


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  """The files of each split and the bound of their size, if any."""

  pairs: Mapping[str, list[Pair]]
  size: tuple[int, ...]


class Camvid(from_files.FromFiles, skip_registration=True):
  """Selected sequences of CamVid, reduced to a working size, also for evaluation."""

  label_space = label_spaces.CAMVID11
  full_size_scores = False

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image and label at full size; see the function `read`."""
    return read(pair)


def _digest(root: pathlib.Path, pairs: Mapping[str, list[Pair]]) -> str:
  """Stands for the path and for the names, lengths and times of all files."""
  listing = [str(root)]
  for split in pairs:
    for file in itertools.chain.from_iterable(pair.files for pair in pairs[split]):
      status = file.stat()
      listing.append(f"{split} {file.relative_to(root)} {status.st_size} {status.st_mtime_ns}")
  return hashlib.sha256("\n".join(listing).encode()).hexdigest()[:12]


def builder(
  data_dir: pathlib.Path,
  field: str,
  *,
  path: str,
  train: Sequence[str],
  val: Sequence[str],
  size: Sequence[int] = (),
) -> Camvid:
  """The data set with these parameters below `data_dir`, prepared or not.

  Args:
    data_dir: Where prepared data sets are kept.
    field: Of the config that asks for it; for messages.
    path: Folder of CamVid.
    train: Selections for training, each `folder` or `folder/prefix` of the file names, e.g.
      `("train/0006R0", "train/0016E5")`. Of `config.data.target` the labels are not even opened.
    val: Selections for evaluation, e.g. `("test/0001TP",)`.
    size: (height, width) in pixels into which images are fitted, keeping their ratio; empty: as they
      are.

  Raises:
    ValueError: Files are missing; named in the message.
  """
  for name, selections in (("train", train), ("val", val)):
    if isinstance(selections, str) or not selections:
      raise ValueError(
        f"config.{field}.{name} = {selections!r} must be a tuple such as ('train/0006R0',)."
      )
  size = from_files.check_size(size, f"{field}.size")
  root = pathlib.Path(path).expanduser().resolve()
  if not root.is_dir():
    raise ValueError(
      f"config.{field}.path = {str(path)!r} is no folder; expected CamVid in SegNet's form, with folders "
      "train/, trainannot/ and so on."
    )
  labelled = {"train": field != "data.target", "val": True}
  pairs = {
    split: [
      pair
      for selection in selections
      for pair in find(root, selection, field, labelled=labelled[split])
    ]
    for split, selections in (("train", train), ("val", val))
  }
  form = "{}x{}".format(*size) if size else "full"
  config = Config(name=f"{form}-{_digest(root, pairs)}", pairs=pairs, size=size)
  return Camvid(data_dir, config)
