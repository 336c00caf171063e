"""Finding and reading the pairs of image and label files of the public data sets."""

import collections
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.common import paths
from jax_uda.common.paths import Path
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets.layouts import Labels, Layout, Part
from jax_uda.data.label_spaces import IGNORE


class Pair(NamedTuple):
  """The files of an example.

  Attributes:
    image: Its file.
    label: Its label file; None: without label.
    kind: What the label file holds.
    mask: File of the invalid pixels, if they are to be ignored.
    day: File of the image of the same place by day, if asked for.
  """

  image: Path
  label: Path | None = None
  kind: Labels | None = None
  mask: Path | None = None
  day: Path | None = None

  @property
  def files(self) -> list[Path]:
    """All of them."""
    return [file for file in (self.image, self.label, self.mask, self.day) if file]


def files_with(folder: Path, endings: Sequence[str]) -> dict[str, tuple[Path, int]]:
  """Path below `folder` without its ending -> file and number of its ending; the first endings win."""
  files = paths.files_below(folder, follow_links=True)
  found: dict[str, tuple[Path, int]] = {}
  for number, ending in enumerate(endings):
    for file in files:
      if file.name.endswith(ending):
        key = file.relative_to(folder).as_posix().removesuffix(ending)
        found.setdefault(key, (file, number))
  return found


Files = Mapping[str, tuple[Path, int]]  # as `files_with` finds them


def _match(images: Files, labels: Files) -> dict[str, str]:
  """Keys of images -> keys of their labels: the same path, else the same name among the others.

  Raises:
    ValueError: Two images or two labels of one name are left.
  """
  found = {key: key for key in images if key in labels}
  others = collections.defaultdict(list)
  for files in (images, labels):
    for key in files:
      if key not in found:
        others[pathlib.PurePosixPath(key).name, files is labels].append(key)
  for (name, is_label), keys in others.items():
    if is_label or (name, True) not in others:
      continue
    for files, named in ((images, keys), (labels, others[name, True])):
      if len(named) > 1:
        raise ValueError(
          f"{files[named[0]][0]} and {files[named[1]][0]} have one name, so that which label belongs to "
          "which image is unclear; lay labels in the same sub-folders as their images."
        )
    found[keys[0]] = others[name, True][0]
  return found


def _pair_up(root: Path, part: Part, layout: Layout) -> list[Pair]:
  """The pairs of a part, in order of the image files; without labels if there is no such folder."""
  images = files_with(root / part.images, layout.image_endings)
  images = dict(sorted(images.items(), key=lambda item: item[1]))
  if not part.labels or not (root / part.labels).is_dir():
    return [Pair(image) for image, _ in images.values()]
  labels = files_with(root / part.labels, [kind.ending for kind in layout.labels])
  absent = lambda key: (root / part.labels / f"{key}{layout.labels[0].ending}", 0)
  matched = _match(images, labels)
  pairs = []
  for key, (image, _) in images.items():
    label, number = labels[matched[key]] if key in matched else absent(key)
    pairs.append(Pair(image, label, layout.labels[number]))
  return pairs


def find(root: Path, split: str, layout: Layout, field: str) -> list[Pair]:
  """The pairs of a split of `layout` below `root`; the label file of a pair need not be there.

  Raises:
    ValueError: A folder is missing or holds no image, or of several files of one name it is unclear
      which belong together.
  """
  forms = layout.splits[split]
  lacking = lambda form: [part.images for part in form if not (root / part.images).is_dir()]
  labelled = lambda form: all(part.labels and (root / part.labels).is_dir() for part in form)
  complete = [form for form in forms if not lacking(form)]
  form = next(filter(labelled, complete), next(iter(complete), None))
  if form is None:
    raise ValueError(
      f"config.{field}.path: {root} has no folder {', '.join(lacking(forms[0]))}; expected "
      f"{layout.title}."
    )
  pairs = [pair for part in form for pair in _pair_up(root, part, layout)]
  if not pairs:
    folders = ", ".join(part.images for part in form)
    raise ValueError(
      f"config.{field}.path: {root} has no image *{layout.image_endings[0]} in or below {folders}; "
      f"expected {layout.title}."
    )
  return pairs


def with_mask(pair: Pair, layout: Layout) -> Pair:
  """The pair with the mask beside its label, which need not be there."""
  if pair.label is None:
    return pair
  stem = pair.label.name.removesuffix(pair.kind.ending)
  masks = [pair.label.with_name(f"{stem}{ending}") for ending in layout.mask_endings]
  return pair._replace(mask=next((mask for mask in masks if mask.is_file()), masks[0]))


def read_ids(file: Path) -> np.ndarray:
  """[H,W] of the ids in a label file: grey, indices of a palette, or 16-bit red as in SYNTHIA.

  Raises:
    ValueError: The file is missing or no such image.
  """
  array, mode = image_files.read_values(file)
  if mode in ("I;16", "RGB;16"):
    return array if array.ndim == 2 else array[..., 2]  # blue, green, red
  if mode not in ("L", "P", "1"):
    raise ValueError(f"{file} holds colours ({mode}), not one id a pixel.")
  return array.astype(np.uint8)


def _check_size(pair: Pair, label: tuple[int, int], image: tuple[int, int], scaled: bool) -> None:
  # Resized to the size of its image, as in the reference pipelines, which take any size. 5 %: GTA5 is said to
  # hold some 60 pairs of other sizes, not seen by us, and a label of another image is to be noticed.
  same_ratio = abs(label[0] * image[1] / (label[1] * image[0]) - 1) < 0.05
  if label != image and not (scaled and same_ratio):
    raise ValueError(f"{pair.label} has size {label}, its image {image}.")


def read(pair: Pair, *, scaled_labels: bool = False) -> tuple[np.ndarray, np.ndarray]:
  """Image [H,W,3] RGB and label [h,w] of Cityscapes' train ids, both uint8; 255 without a label.

  Raises:
    ValueError: A file is missing or no image, a size does not fit, or there are unknown ids.
  """
  image = image_files.read_image(pair.image)
  if pair.label is None:
    return image, np.full(image.shape[:2], IGNORE, np.uint8)
  if not pair.label.is_file():
    raise ValueError(f"No label for image {pair.image}: expected {pair.label}.")
  raw = read_ids(pair.label)
  _check_size(pair, raw.shape, image.shape[:2], scaled_labels)
  unknown = (raw >= pair.kind.number) & (raw != IGNORE)
  if unknown.any():
    ids = np.unique(raw[unknown])[:8].tolist()
    raise ValueError(f"{pair.label} holds the ids {ids}; known are 0..{pair.kind.number - 1}, 255.")
  label = pair.kind.table[raw]
  if pair.mask:
    invalid = read_ids(pair.mask)
    if invalid.shape != label.shape:
      raise ValueError(f"{pair.mask} has size {invalid.shape}, its label {label.shape}.")
    label[invalid > 0] = IGNORE
  return image, label
