"""What all data sets have in common that are made of image and label files."""

import dataclasses
import functools
import hashlib
import itertools
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import text
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import base, image_files, seal, shards, sources
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.rescale import Size

Splits = Mapping[str, Sequence[Pair]]  # split -> the files of its examples


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
      than in the labels as they are stored.
    root: The folder of the data set.
    name_at: The name of the same settings with the files in another folder; see `FromFiles.find_twin`.
  """

  find: Callable[[], Splits]
  read: Callable[[Pair], tuple[np.ndarray, np.ndarray]]
  size: Size | None
  full_size_scores: bool = True
  full_size_counts: bool = False
  root: str = ""
  name_at: Callable[[str], str] | None = None

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

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Reads a pair at full size; see `Config.read`."""
    return self.settings.read(pair)

  def check_folders(self) -> None:
    """Raises ValueError if a needed folder of labels is missing; called before anything takes time."""

  def more_fields(self, pair: Pair, size: Size) -> dict[str, bytes]:
    """Further features of an example whose image has been resized to `size`."""
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
    shards.write(self, self.settings.pairs, self._convert, skip=skip, repair=repair)

  def _convert(self, split: str, pair: Pair) -> shards.Converted:
    settings = self.settings
    image, label = self.read(pair)
    counted = label
    size = (image.shape[0], image.shape[1])
    if settings.size:
      size = rescale.keep_ratio_size(size, settings.size)
      image = rescale.resize_image(image, size)
    if split == "train" or not settings.full_size_scores:
      label = rescale.resize_label(label, size)
    if not settings.full_size_counts:
      counted = label
    counts = np.bincount(counted.ravel(), minlength=256)[: self.label_space.num_classes]
    name = text.shown(pair.image.name)  # a name that is not UTF-8 cannot be stored as it is
    # A JPEG is a quarter of the PNG of its pixels, and `Examples` decodes it as it was read here.
    stored = None if settings.size else image_files.jpeg_bytes(pair.image, self.reading)
    example: dict[str, str | bytes] = {
      "name": name,
      "image": stored or image_files.encode_png(image),
      "label": image_files.encode_png(label),
    }
    example |= self.more_fields(pair, size)
    features = cast(tfds.features.FeaturesDict, self.info.features)
    record = features.serialize_example(features.encode_example(example))
    return shards.Converted(name, record, counts.tolist())

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    raise NotImplementedError("written by `write`")  # abstract in the base class
