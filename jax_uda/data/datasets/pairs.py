"""Pairs of image and label files: finding those of a layout, and reading them."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.common import file_walk, text
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import image_files, label_coding
from jax_uda.data.datasets.image_files import Reading
from jax_uda.data.datasets.layouts import Labels, Layout, Part
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline.rescale import Size


class Pair(NamedTuple):
  """The files of an example.

  Attributes:
    image: The image file.
    label: The label file; None if there is no label, or if it must not be opened.
    kind: What the label file holds, for data sets with a layout.
    mask: A file with the invalid pixels, if these are to be ignored.
    day: An image of the same place by day, if asked for.
  """

  image: Path
  label: Path | None = None
  kind: Labels | None = None
  mask: Path | None = None
  day: Path | None = None

  @property
  def files(self) -> list[Path]:
    """All files of the example."""
    return [file for file in (self.image, self.label, self.mask, self.day) if file]


Files = Mapping[str, tuple[Path, int]]  # key -> file and number of its ending


def files_with(folder: Path, endings: Sequence[str]) -> dict[str, tuple[Path, int]]:
  """Finds the data files in and below a folder whose names have one of the endings, in any case.

  Returns:
    Path below `folder` without the ending -> (file, number of its ending). Where two files differ in
    the ending alone, the earlier ending wins.
  """
  files = file_walk.find(folder).files
  by_key: dict[str, tuple[Path, int]] = {}
  for number, ending in enumerate(endings):
    for file in files:
      if file.name.lower().endswith(ending.lower()):
        key = file.relative_to(folder).as_posix()[: -len(ending)]
        by_key.setdefault(key, (file, number))
  return by_key


def _match(images: Files, labels: Files) -> dict[str, str]:
  """Keys of images -> keys of their labels: the same path, else the same name among the others.

  Raises:
    ValueError: Among the others, two images or two labels have the same name.
  """
  matches = {key: key for key in images if key in labels}
  others = collections.defaultdict(list)
  for files in (images, labels):
    for key in files:
      if key not in matches:
        others[pathlib.PurePosixPath(key).name, files is labels].append(key)
  for (name, is_label), keys in others.items():
    if is_label or (name, True) not in others:
      continue
    for files, named in ((images, keys), (labels, others[name, True])):
      if len(named) > 1:
        raise ValueError(
          f"{text.shown(files[named[0]][0])} and {text.shown(files[named[1]][0])} have one name, so that which label belongs to "
          "which image is unclear; lay labels in the same sub-folders as their images."
        )
    matches[keys[0]] = others[name, True][0]
  return matches


def _pair_up(root: Path, part: Part, layout: Layout) -> list[Pair]:
  """The pairs of a part, in order of the image files; without labels if there is no label folder."""
  images = files_with(root / part.images, layout.image_endings)
  images = dict(sorted(images.items(), key=lambda item: item[1]))
  if not part.labels or not (root / part.labels).is_dir():
    return [Pair(image) for image, _ in images.values()]
  labels = files_with(root / part.labels, [kind.ending for kind in layout.labels])
  absent = lambda key: (root / part.labels / f"{key}{layout.labels[0].ending}", 0)
  matches = _match(images, labels)
  pairs = []
  for key, (image, _) in images.items():
    label, number = labels[matches[key]] if key in matches else absent(key)
    pairs.append(Pair(image, label, layout.labels[number]))
  return pairs


def _choose_form(root: Path, split: str, layout: Layout) -> tuple[Part, ...]:
  """The form of a split that is there; raises SettingError if there is none."""
  forms = layout.splits[split]
  lacking = lambda form: [part.images for part in form if not (root / part.images).is_dir()]
  labelled = lambda form: all(part.labels and (root / part.labels).is_dir() for part in form)
  complete = [form for form in forms if not lacking(form)]
  form = next(filter(labelled, complete), next(iter(complete), None))
  if form is None:
    raise SettingError(
      "path", f": {root} has no folder {', '.join(lacking(forms[0]))}; expected {layout.title}."
    )
  return form


def left_out(root: Path, split: str, layout: Layout) -> collections.Counter[str]:
  """Kind -> the number of files in the folders of a split that `file_walk` leaves out.

  Raises:
    SettingError: A folder is missing.
  """
  folders = {folder for part in _choose_form(root, split, layout) for folder in part if folder}
  walks = [file_walk.find(root / folder) for folder in sorted(folders)]
  return sum((walk.left_out for walk in walks), collections.Counter())


def find(root: Path, split: str, layout: Layout, *, prefix: str = "") -> list[Pair]:
  """Finds the pairs of a split. The label file of a pair need not exist.

  Args:
    root: The folder of the data set.
    split: One of `layout.splits`.
    layout: How the data set lies on disk.
    prefix: The beginning of the image files' names; images with other names are left out.

  Raises:
    SettingError: A folder is missing or holds no such image.
    ValueError: Several files have one name, so that it is unclear which belong together.
  """
  form = _choose_form(root, split, layout)
  pairs = [pair for part in form for pair in _pair_up(root, part, layout)]
  pairs = [pair for pair in pairs if pair.image.name.startswith(prefix)]
  if not pairs:
    folders = ", ".join(part.images for part in form)
    raise SettingError(
      "path",
      f": {root} has no image {prefix}*{layout.image_endings[0]} in or below {folders}; expected "
      f"{layout.title}.",
    )
  return pairs


def with_mask(pair: Pair, layout: Layout) -> Pair:
  """The pair with the mask beside its label. The mask file need not exist."""
  if pair.label is None or pair.kind is None:
    return pair
  stem = pair.label.name.removesuffix(pair.kind.ending)
  masks = [pair.label.with_name(f"{stem}{ending}") for ending in layout.mask_endings]
  return pair._replace(mask=next((mask for mask in masks if mask.is_file()), masks[0]))


def read_ids(file: Path, max_pixels: int = image_files.MAX_PIXELS) -> np.ndarray:
  """[H,W] ids in a label file, as `label_coding.read_ids`, or 16-bit red as in SYNTHIA.

  Raises:
    ValueError: The file is missing or no such image.
  """
  array = image_files.read_values(file, max_pixels)
  if array.ndim == 3 and array.dtype == np.uint16:
    return array[..., 0]
  return label_coding.as_ids(array, file)


def check_size(pair: Pair, label: Size, image: Size, *, scaled: bool = False) -> None:
  """Raises ValueError if a label does not fit its image.

  Args:
    pair: The files.
    label: The size of the label, upright.
    image: The size of the image, upright.
    scaled: Whether another size of about the same ratio fits, too.
  """
  # The reference pipelines resize a label of any size to its image. The 5 %: GTA5 is said to hold some 60
  # pairs of different sizes (we have not seen them), and the label of another image must be noticed.
  same_ratio = abs(label[0] * image[1] / (label[1] * image[0]) - 1) < 0.05
  if label == image or (scaled and same_ratio):
    return
  assert pair.label is not None
  names = f"{text.shown(pair.label)} has size {label}, its image {image}"
  if label == image[::-1] and image_files.is_turned(pair.image):
    raise ValueError(
      f"{names}: the EXIF orientation of {text.shown(pair.image.name)} turns it by 90 degrees, and the "
      "label was drawn on the image that was not turned; turn the label, or remove the mark "
      "(exiftool -Orientation= FILE)."
    )
  raise ValueError(f"{names}.")


def read(
  pair: Pair, *, scaled_labels: bool = False, max_pixels: int = image_files.MAX_PIXELS
) -> tuple[np.ndarray, np.ndarray]:
  """Reads a pair of a layout.

  Args:
    pair: The files.
    scaled_labels: Whether the label may have another size of about the same ratio.
    max_pixels: The largest number of pixels of a file.

  Returns:
    The image [H,W,3] RGB and the label [h,w] of train ids (of the layout's label space), both uint8.
    Without a label file, all of the label is 255.

  Raises:
    ValueError: A file is missing or no image, a size does not fit, or there are unknown ids.
  """
  image = image_files.read_image(pair.image, Reading(max_pixels=max_pixels))
  height, width = image.shape[:2]
  if pair.label is None or pair.kind is None:
    return image, np.full((height, width), IGNORE, np.uint8)
  if not pair.label.is_file():
    raise ValueError(
      f"No label for image {text.shown(pair.image)}: expected {text.shown(pair.label)}."
    )
  raw = read_ids(pair.label, max_pixels)
  check_size(pair, (raw.shape[0], raw.shape[1]), (height, width), scaled=scaled_labels)
  unknown = (raw < 0) | (raw >= pair.kind.num_ids) & (raw != IGNORE)
  if unknown.any():
    ids = np.unique(raw[unknown])[:8].tolist()
    raise ValueError(
      f"{text.shown(pair.label)} holds the ids {ids}; known are 0..{pair.kind.num_ids - 1}, 255."
    )
  label = pair.kind.table[raw]
  if pair.mask:
    invalid = read_ids(pair.mask, max_pixels)
    if invalid.shape != label.shape:
      raise ValueError(
        f"{text.shown(pair.mask)} has size {invalid.shape}, its label {label.shape}."
      )
    label[invalid > 0] = IGNORE
  return image, label
