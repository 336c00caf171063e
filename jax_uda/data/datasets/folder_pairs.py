"""The image and label files of the data set `folders`: finding them, pairing them, reading them."""

import collections
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np

from jax_uda.common import file_walk
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.common.text import shown
from jax_uda.data.datasets import image_files, pairs
from jax_uda.data.datasets.image_files import PLAIN, Reading
from jax_uda.data.datasets.label_coding import Coding
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import IGNORE

IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".tif", ".tiff", ".webp")
LABEL_ENDINGS = (".png", ".tif", ".tiff", ".bmp", ".gif")  # formats without loss
_LOSSY_ENDINGS = (".jpg", ".jpeg", ".jfif", ".webp")


def _look(
  folder: Path, endings: Sequence[str], suffix: str
) -> tuple[dict[str, Path], collections.Counter[str]]:
  """What `files` returns, and how many files of each kind are left out."""
  walk = file_walk.find(folder)
  by_key: dict[str, Path] = {}
  for file in walk.files:
    if file.suffix.lower() not in endings:
      walk.left_out[shown(file.suffix.lower()) or "names without an ending"] += 1
    elif not file.stem.endswith(suffix):
      walk.left_out[f"names without {shown(suffix)}"] += 1
    else:
      key = (file.relative_to(folder).parent / file.stem).as_posix().removesuffix(suffix)
      key = unicodedata.normalize("NFC", key)  # macOS writes an umlaut as two characters
      if by_key.setdefault(key, file) != file:
        raise ValueError(
          f"{shown(by_key[key])} and {shown(file)} have one name but for their endings; move one of them "
          "elsewhere, or tell them apart by a suffix of the stems."
        )
  return by_key, walk.left_out


def files(
  folder: Path, endings: Sequence[str] = IMAGE_ENDINGS, suffix: str = ""
) -> dict[str, Path]:
  """Finds the data files in and below a folder by their endings; see `file_walk` for what is none.

  Args:
    folder: The folder.
    endings: The endings, in lower case.
    suffix: The end of the stems; files with other stems are left out.

  Returns:
    Path below `folder` without suffix and ending -> file, in order of the paths.

  Raises:
    ValueError: Two files differ in nothing but their endings.
  """
  return _look(folder, endings, suffix)[0]


def left_out(folder: Path, endings: Sequence[str], suffix: str) -> collections.Counter[str]:
  """Kind -> the number of files that `files` leaves out."""
  return _look(folder, endings, suffix)[1]


def find(
  root: Path, folders: Sequence[str], *, image_suffix: str = "", label_suffix: str = ""
) -> list[Pair]:
  """The pairs of (image folder, label folder), or the images of (image folder,), in order of name.

  The label of `a/0.jpg` is `a/0.png` or `a/0.jpg.png`, with any ending of a label. It need not exist;
  `check_labels` finds missing ones.

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
      raise SettingError((), f": there is no folder {shown(root / folder)}.")
  images, others = _look(root / folders[0], IMAGE_ENDINGS, image_suffix)
  if not images:
    ending = f"{image_suffix}{{{','.join(IMAGE_ENDINGS)}}}"
    reason = f" ({file_walk.describe(others)})" if others else ""
    raise SettingError((), f": no image *{ending} in or below {shown(root / folders[0])}{reason}.")
  if len(folders) == 1:
    return [Pair(image) for image in images.values()]
  labels = files(root / folders[1], LABEL_ENDINGS, label_suffix)
  pairs_of_images = []
  for key, image in images.items():
    absent = root / folders[1] / f"{key}{label_suffix}.png"
    pairs_of_images.append(
      Pair(image, labels.get(key) or labels.get(f"{key}{image.suffix}") or absent)
    )
  return pairs_of_images


def _why_missing(pair: Pair) -> str:
  """Says which label an image lacks, and whether it is there in a format that is no label's."""
  assert pair.label is not None
  text = f"expected {shown(pair.label)}"
  for ending in _LOSSY_ENDINGS:
    for other in (pair.label.with_suffix(ending), pair.label.with_suffix(ending.upper())):
      if other != pair.image and other.is_file():
        return (
          f"{text}; {shown(other.name)} is there, but {ending} changes the values of pixels: store labels "
          "as PNG"
        )
  return text


def check_labels(pairs: Sequence[Pair]) -> None:
  """Raises ValueError if label files are missing; names the first and counts all."""
  missing = [pair for pair in pairs if pair.label and not pair.label.is_file()]
  if missing:
    raise ValueError(
      f"{len(missing)} of {len(pairs)} images have no label, the first is {shown(missing[0].image)}: "
      f"{_why_missing(missing[0])}. --mode=check_data lists them all."
    )


def read(pair: Pair, coding: Coding, reading: Reading = PLAIN) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] RGB and label [H,W] of train ids, both uint8; the label is 255 if there is no file.

  Raises:
    ValueError: A file is missing or no image, or the label has another size than the image or values
      that are unknown.
  """
  image = image_files.read_image(pair.image, reading)
  if pair.label is None:
    return image, np.full(image.shape[:2], IGNORE, np.uint8)
  if not pair.label.is_file():
    raise ValueError(f"{shown(pair.image)} has no label: {_why_missing(pair)}.")
  label = coding.train_ids(pair.label)
  pairs.check_size(pair, (label.shape[0], label.shape[1]), (image.shape[0], image.shape[1]))
  return image, label


def count_left_out(
  root: Path, parts: Mapping[str, Sequence[str]], image_suffix: str, label_suffix: str
) -> dict[str, collections.Counter[str]]:
  """Split -> kind -> the number of files that are left out of its folders."""
  counts = {}
  for split, folders in parts.items():
    kinds = ((IMAGE_ENDINGS, image_suffix), (LABEL_ENDINGS, label_suffix))
    counts[split] = collections.Counter()
    if len(set(folders)) == len(
      folders
    ):  # else the files of one kind are those that the other leaves out
      for folder, (endings, suffix) in zip(folders, kinds, strict=False):
        counts[split] += left_out(root / folder, endings, suffix)
  return counts
