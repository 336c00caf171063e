"""What all data sets have in common that are made of image and label files."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, cast

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import text
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import base, image_files, seal, shards, sources
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import examples, rescale
from jax_uda.data.pipeline.rescale import Size

Splits = Mapping[str, Sequence[Pair]]  # split -> the files of its examples

# The first bytes of files that are stored as they are.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG"


def check_size(size: Sequence[int]) -> Size | None:
  """The setting `size` of a data set: (height, width), or () for None.

  Raises:
    SettingError: It is neither.
  """
  integer = lambda side: isinstance(side, int | np.integer) and not isinstance(side, bool)
  sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else None
  if sides is None or len(sides) not in (0, 2) or not all(integer(s) and s > 0 for s in sides):
    raise SettingError(
      "size",
      f"= {size!r} must be (height, width) in whole pixels, e.g. (720, 1280), or () for images as they "
      "are.",
    )
  return (sides[0], sides[1]) if sides else None


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  """What is prepared from which files. The name stands for the settings, not for the files.

  Attributes:
    find: Finds the files of each split; raises ValueError if there are none.
    read: Reads a pair: the image [H,W,3] and the label [h,w] of train ids at full size, both uint8;
      raises ValueError for bad files.
    size: (height, width) into which images are fitted; None leaves them as they are.
    full_size_scores: Whether labels for evaluation keep the size of their files.
    full_size_counts: Whether classes are counted in the label files, as the reference does it, rather
      than in labels of the image's size.
    root: The folder of the data set.
    name_at: The name of the same settings with the files in another folder; see `FromFiles.find_twin`.
    store: "resized": images, and labels for training, are stored at the size that batches show.
      "original": they are stored as the files are and resized when they are read, with the same result.
  """

  find: Callable[[], Splits]
  read: Callable[[Pair], tuple[np.ndarray, np.ndarray]]
  size: Size | None
  full_size_scores: bool = True
  full_size_counts: bool = False
  root: str = ""
  name_at: Callable[[str], str] | None = None
  store: Literal["resized", "original"] = "resized"

  @functools.cached_property
  def pairs(self) -> Splits:
    """The files of each split; searched for once."""
    return self.find()


def make_name(size: Size | None, *settings: Any) -> str:
  """The name of a config: its size and a checksum of all settings that decide what is read.

  Users have prepared data sets under these names. A change of the form makes them prepare all anew.
  """
  form = f"{size[0]}x{size[1]}" if size else "full"
  return f"{form}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}"


def file_bytes(file: Path, image: np.ndarray) -> bytes:
  """The bytes of a JPEG or PNG file; for other files, those of a PNG of the same pixels.

  Args:
    file: An image file.
    image: [H,W,3] uint8, the file as `image_files.read_image` reads it. A file that `Examples` would
      decode to other pixels, e.g. one of 16 bits, is not taken as it is.
  """
  data = image_files.read_bytes(file)
  if data.startswith((_JPEG, _PNG)):
    decoded = examples.decode_image(data)
    if decoded is not None and np.array_equal(decoded, image):
      return data
  return image_files.encode_png(image)


class FromFiles(base.Builder, skip_registration=True):
  """A data set made of files. It is written on all cores and can be interrupted; see `shards`.

  Attributes:
    settings: What is prepared from which files.
  """

  def __init__(self, name: str, data_dir: Path, settings: Config, label_space: LabelSpace):
    self.name = name  # pyright: ignore[reportAttributeAccessIssue] — TFDS names classes, we name objects
    self.label_space = label_space
    self.settings = settings
    super().__init__(data_dir, settings)

  @property
  def image_bound(self) -> Size | None:
    """The setting `size`."""
    return self.settings.size

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Reads a pair at full size; see `Config.read`."""
    return self.settings.read(pair)

  def check_folders(self) -> None:
    """Raises ValueError if a needed folder of labels is missing; called before anything takes time."""

  def more_fields(self, pair: Pair, size: Size) -> dict[str, bytes]:
    """Further features of an example whose image has the size `size` in a batch."""
    del pair, size
    return {}

  def find_pairs(self) -> Splits | None:
    """The files of each split; None if their folders are gone and the data set is prepared.

    Raises:
      ValueError: Folders or files are missing, and the data set is not prepared.
    """
    try:
      return self.settings.pairs
    except ValueError:
      if self.is_complete:
        return None
      raise

  def find_twin(self) -> pathlib.Path | None:
    """A data set that was prepared with these settings from these files when they lay elsewhere."""
    pairs = self.find_pairs()
    if not (pairs and self.settings.name_at and self.settings.root):
      return None
    places = sources.stamps(itertools.chain.from_iterable(pairs.values()))
    folder = pathlib.Path(self.data_path)
    others = sorted(folder.parent.parent.glob(f"*/{folder.name}"))
    is_twin = lambda other: self._is_twin(other, places)
    return next((other for other in others if other != folder and is_twin(other)), None)

  def _is_twin(self, other: pathlib.Path, places: sources.Stamps) -> bool:
    """Whether the data set in `other` differs from this one in the place of its files alone."""
    settings = self.settings
    assert settings.name_at is not None
    try:
      seal.check(other)
      there, before = sources.relative(sources.noted(other))
    except ValueError:  # damaged
      return False
    here, now = sources.relative(places)
    below = here.removeprefix(settings.root.rstrip("/"))
    if not there.endswith(below) or before.keys() != now.keys():
      return False
    if settings.name_at(there.removesuffix(below)) != other.parent.name:
      return False  # other settings
    where = {name: os.path.join(here, name) for name in now}
    return not sources.different(before, now, where)

  def find_changes(self) -> sources.Changes | None:
    """How the files differ from those that the data set was prepared from; None: not at all."""
    pairs = self.find_pairs()
    return sources.find_changes(pathlib.Path(self.data_path), pairs) if pairs else None

  def write(self, *, skip: bool, repair: bool = False) -> None:
    """Writes the data set or continues an interrupted preparation; see `shards.write`."""
    self.check_folders()
    shards.write(self, self.settings.pairs, self.convert, skip=skip, repair=repair)

  def convert(self, split: str, pair: Pair) -> shards.Converted:
    """Reads a pair of a split and returns what is stored of it; raises ValueError for bad files."""
    settings = self.settings
    image, label = self.read(pair)
    size = (image.shape[0], image.shape[1])
    if settings.size:
      size = rescale.keep_ratio_size(size, settings.size)
    shown = label  # as batches and evaluations show it
    if split == "train" or not settings.full_size_scores:
      shown = rescale.resize_label(label, size)
    counted = label if settings.full_size_counts else shown
    counts = np.bincount(counted.ravel(), minlength=256)[: self.label_space.num_classes]
    name = text.shown(pair.image.name)  # a name that is not UTF-8 cannot be stored as it is
    example: dict[str, Any] = {"name": name}
    if settings.store == "original":
      example |= {"image": file_bytes(pair.image, image), "label": image_files.encode_png(label)}
      example |= {"image_size": size, "label_size": shown.shape}
    else:
      # A JPEG is a quarter of the PNG of its pixels, and `Examples` decodes it as it was read here.
      stored = None if settings.size else image_files.jpeg_bytes(pair.image, self.reading)
      resized = rescale.resize_image(image, size) if settings.size else image
      example |= {"image": stored or image_files.encode_png(resized)}
      example |= {"label": image_files.encode_png(shown)}
    example |= self.more_fields(pair, size)
    features = cast(tfds.features.FeaturesDict, self.info.features)
    record = features.serialize_example(features.encode_example(example))
    return shards.Converted(pair.image.name, record, counts.tolist())

  def _describe(self, more_features: Mapping[str, Any]) -> tfds.core.DatasetInfo:
    """What TFDS is told; with the sizes that images and labels get when they are read, if any."""
    if self.settings.store == "original":
      size = lambda: tfds.features.Tensor(shape=(2,), dtype=np.int64)
      more_features = {**more_features, "image_size": size(), "label_size": size()}
    return super()._describe(more_features)

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    raise NotImplementedError("written by `write`")  # abstract in the base class
