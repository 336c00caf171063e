"""CamVid in SegNet's 11-class form, from a folder of the user's.

The folder holds `train/`, `trainannot/`, and likewise `val` and `test`: images as .png or .jpg, labels as
8-bit .png of the same stem with values 0..10 and 11 = void. The first six letters of a file name
are its sequence: 0001TP was filmed at dusk, 0006R0, 0016E5 and Seq05VD in daylight.
"""

import hashlib
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import PIL.Image
import tensorflow_datasets as tfds

from jax_uda.data import label_spaces, rescale
from jax_uda.data.builders import base, example

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg")


class Pair(NamedTuple):
  """An image file and its label file."""

  image: pathlib.Path
  label: pathlib.Path


def find(root: pathlib.Path, selection: str) -> list[Pair]:
  """The files of a selection `folder` or `folder/prefix`, e.g. `train/0016E5`, in order of name.

  Raises:
    ValueError: The folder, its labels or the label of an image is missing, or nothing matches.
  """
  folder, _, prefix = selection.partition("/")
  for needed in (root / folder, root / f"{folder}annot"):
    if not needed.is_dir():
      raise ValueError(
        f"config.data.<domain>.path = {str(root)!r}: no folder {needed.name!r} there; expected CamVid "
        f"in SegNet's layout, {folder}/ with images and {folder}annot/ with labels."
      )
  images = sorted(
    file
    for file in (root / folder).iterdir()
    if file.suffix.lower() in IMAGE_ENDINGS and file.name.startswith(prefix)
  )
  if not images:
    raise ValueError(f"camvid: no .png or .jpg image {prefix}* in {root / folder}.")
  pairs = [Pair(image, root / f"{folder}annot" / f"{image.stem}.png") for image in images]
  for pair in pairs:
    if not pair.label.is_file():
      raise ValueError(f"No label for image {pair.image}: expected {pair.label}.")
  return pairs


def _open(file: pathlib.Path, *modes: str) -> np.ndarray:
  try:
    with PIL.Image.open(file) as image:
      # In these modes the array holds what the file says, colour or palette index.
      return np.array(image if image.mode in modes else image.convert(modes[0]))
  except OSError as error:
    raise ValueError(f"{file} cannot be read as an image: {error}.") from None


def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] and label [H,W] of train ids, both uint8.

  Raises:
    ValueError: A file is no image, the label has another size than the image or unknown ids.
  """
  image, raw = _open(pair.image, "RGB"), _open(pair.label, "L", "P")
  if raw.shape != image.shape[:2]:
    raise ValueError(f"{pair.label} has size {raw.shape}, its image {image.shape[:2]}.")
  if raw.max() > 11:
    unknown = np.unique(raw[raw > 11]).tolist()
    raise ValueError(f"{pair.label} holds the ids {unknown}; known are 0..10 and 11 = void.")
  return image, label_spaces.CAMVID_IDS[raw]


class Camvid(base.SegmentationBuilder):
  """Selected sequences of CamVid, optionally resized.

  The prepared folder's name holds a hash of the selected files' names and lengths.
  """

  VERSION = tfds.core.Version("1.0.0")
  label_space = label_spaces.CAMVID11

  def __init__(
    self,
    *,
    data_dir: str,
    path: str,
    train: Sequence[str],
    val: Sequence[str],
    size: tuple[int, int] | None = None,
  ):
    root = pathlib.Path(path).expanduser()
    self._size = size and (int(size[0]), int(size[1]))
    self._pairs = {
      split: [pair for selection in selections for pair in find(root, selection)]
      for split, selections in (("train", train), ("val", val))
    }
    size_name = "x".join(map(str, self._size)) if self._size else "full"
    config = tfds.core.BuilderConfig(name=f"{size_name}-{self._digest(root)}", version=self.VERSION)
    super().__init__(data_dir=data_dir, config=config)

  def _digest(self, root: pathlib.Path) -> str:
    listing = [
      f"{split} {file.relative_to(root).as_posix()} {file.stat().st_size}"
      for split, pairs in self._pairs.items()
      for pair in pairs
      for file in pair
    ]
    return hashlib.sha256("\n".join(listing).encode()).hexdigest()[:12]

  def num_examples(self, split: str) -> int:
    """The number of selected images."""
    return len(self._pairs[split])

  def examples(self, split: str) -> Iterator[example.Example]:
    """Reads, checks and resizes the files."""
    for pair in self._pairs[split]:
      image, label = read(pair)
      if self._size:
        image = rescale.resize_image(image, self._size)
        label = rescale.resize_label(label, self._size)
      yield example.encode(image, label, self.label_space.num_classes)
