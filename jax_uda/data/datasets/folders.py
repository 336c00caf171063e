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
`ignore_colors` take the place of the ids. `bands` and `value_range` say how TIFF files of many bands or of
16 bits become colors.
"""

import collections
import dataclasses
import functools
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import (
  folder_pairs,
  from_files,
  image_files,
  label_coding,
  stores,
  value_range,
)
from jax_uda.data.datasets.folder_pairs import files as files
from jax_uda.data.datasets.folder_settings import Description, make_label_space
from jax_uda.data.datasets.image_files import Reading
from jax_uda.data.datasets.label_coding import Coding
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.roles import Role

_METADATA = "metadata.json"  # TFDS' name for what a data set says of itself
_RANGE = "value_range"
_LOOKED_AT = 50  # label files that are read to say which values occur


class Folders(from_files.FromFiles, skip_registration=True):
  """Images and labels from folders, at a working size."""

  def __init__(
    self,
    data_dir: Path,
    settings: from_files.Config,
    label_space: LabelSpace,
    about: Description,
    coding: Coding,
  ):
    self._about, self._coding = about, coding
    super().__init__("folders", data_dir, settings, label_space)

  def _info(self) -> tfds.core.DatasetInfo:
    info = self._describe({})
    if not self._about.wants_percentiles:
      return info
    return tfds.core.DatasetInfo(  # the range is stored beside the images
      builder=self,
      disable_shuffling=True,
      features=info.features,
      metadata=tfds.core.MetadataDict(),
    )

  @property
  def reading(self) -> Reading:
    """How images are read; a range of percentiles is the one that the images were prepared with.

    Raises:
      ValueError: The range has to be computed, and training images cannot be read.
    """
    reading = self._about.reading
    if not self._about.wants_percentiles:
      return reading
    stored = _stored_range(pathlib.Path(self.data_path))
    return dataclasses.replace(reading, value_range=stored or self._percentiles)

  @functools.cached_property
  def _percentiles(self) -> tuple[tuple[float, float], ...]:
    """The range of the training images as they are now; images that cannot be read do not count."""
    pairs = self.settings.pairs["train"]
    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), value_range.STATISTIC_IMAGES))
    samples, errors = [], []
    for index in np.unique(chosen.round().astype(int)):
      try:
        stored = image_files.read_stored(pairs[index].image, self._about.reading)
        samples.append(value_range.sample(stored))
      except ValueError as error:
        errors.append(error)
    if not samples:
      raise errors[0]
    return value_range.percentile_range(samples)

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Reads a pair at full size; see `folder_pairs.read`."""
    return folder_pairs.read(pair, self._coding, self.reading)

  def write(self, *, skip: bool, repair: bool = False) -> None:
    """Writes the data set on all cores; missing labels are named before anything takes time."""
    if not skip:
      folder_pairs.check_labels([pair for split in self.settings.pairs.values() for pair in split])
    if self._about.wants_percentiles:
      self._settle_range()
    super().write(skip=skip, repair=repair)

  def _settle_range(self) -> None:
    """Computes the range. What was written with another one is removed: all images change with it."""
    folder = pathlib.Path(self.data_path)
    partial = folder.with_name(f"{folder.name}.partial")
    for place in (folder, partial):
      if place.exists() and _stored_range(place) != self._percentiles:
        shutil.rmtree(place)
    metadata = self.info.metadata
    assert isinstance(metadata, dict)
    metadata.clear()
    metadata[_RANGE] = [list(pair) for pair in self._percentiles]
    partial.mkdir(parents=True, exist_ok=True)
    (partial / _METADATA).write_text(json.dumps(metadata))

  def left_out(self) -> Mapping[str, collections.Counter[str]]:
    """Split -> kind -> how many files of its folders are not read."""
    about = self._about
    suffixes = (about.image_suffix, about.label_suffix)
    folders = {split: getattr(about, split) for split in self.settings.pairs}
    return folder_pairs.count_left_out(paths.absolute(about.path, "path"), folders, *suffixes)

  def check_classes(self, counts: np.ndarray) -> None:
    """Raises SettingError if a class never occurs in the training labels; says what does occur.

    Args:
      counts: [N,C] pixels of each class in each training label.
    """
    pixels = counts.sum(0)
    names = self.label_space.names
    absent = [name for name, number in zip(names, pixels, strict=True) if not number]
    if not absent or self._about.allow_missing:
      return
    verb = "occurs" if len(absent) == 1 else "occur"
    raise SettingError(
      (),
      f": {', '.join(absent)} never {verb} in the labels of its training images, which hold "
      f"{self._histogram(pixels)}. {self._about.advice} allow_missing=True trains as it is.",
    )

  def _histogram(self, pixels: np.ndarray) -> str:
    """The shares of the values in the label files or, if these are gone, of the classes."""
    splits = self.find_pairs() or {}
    labels = [pair.label for pair in splits.get("train", ()) if pair.label][:_LOOKED_AT]
    shares = self._coding.histogram(labels)
    if not shares:
      total = max(pixels.sum(), 1)
      shares = dict(zip(self.label_space.names, pixels / total, strict=True))
    common = list(shares.items())[: label_coding.SHOWN]
    text = ", ".join(f"{value} ({100 * share:.1f} %)" for value, share in common)
    return text + (", …" if len(shares) > len(common) else "")


def _stored_range(folder: pathlib.Path) -> tuple[tuple[float, float], ...]:
  """The range that a folder was prepared with; empty if it says none."""
  try:
    pairs = json.loads((folder / _METADATA).read_text())[_RANGE]
    return tuple((float(low), float(high)) for low, high in pairs)
  except (OSError, ValueError, TypeError, KeyError):
    return ()


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
  coding, values = about.coding(space.num_classes)
  meaning = about.meaning(values)
  if about.wants_percentiles and "train" not in parts:
    raise SettingError(
      "value_range",
      f"= {about.value_range!r} needs training images; write the numbers, e.g. those of the target, which "
      f"{_METADATA} in its prepared folder holds.",
    )
  size = from_files.check_size(about.size)
  root = paths.absolute(about.path, "path")
  suffixes = dict(image_suffix=about.image_suffix, label_suffix=about.label_suffix)

  def find_all() -> from_files.Splits:
    splits = {}
    for split, folders in parts.items():
      with registry.within(split):
        splits[split] = folder_pairs.find(root, folders, **suffixes)
    return splits

  name_at = lambda root: from_files.make_name(size, root, parts, suffixes, space.names, *meaning)
  config = from_files.Config(
    name=name_at(str(root)),
    root=str(root),
    name_at=name_at,
    find=find_all,
    read=lambda pair: dataset.read(pair),
    size=size,
  )
  make = lambda config: Folders(data_dir, config, space, about, coding)
  dataset = stores.choose(make, config, store)
  dataset.find_pairs()  # so that missing folders are named at once
  return dataset
