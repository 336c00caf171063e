"""What the data sets have in common that are made of image and label files."""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common.paths import Path
from jax_uda.data.datasets import base, image_files, shards, sources
from jax_uda.data.pipeline import rescale


class Pair(Protocol):
  """The files of an example."""

  image: Path

  @property
  def files(self) -> list[Path]:
    """All of them."""


def check_size(size: Sequence[int], field: str) -> tuple[int, ...]:
  """The setting `config.<field>`, () or (height, width), as a tuple; raises ValueError if it is neither."""
  integer = lambda side: isinstance(side, int | np.integer) and not isinstance(side, bool)
  sides = tuple(size) if isinstance(size, Sequence) and not isinstance(size, str) else None
  if sides is None or len(sides) not in (0, 2) or not all(integer(s) and s > 0 for s in sides):
    raise ValueError(
      f"config.{field} = {size!r} must be (height, width) in whole pixels, e.g. (720, 1280), or () for "
      "images as they are."
    )
  return sides


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  """What is prepared from which files; its name stands for the settings, not for the files.

  Attributes:
    find: Finds the files of each split; raises ValueError if there are none.
    size: (height, width) that bounds the images; empty: as they are.
    pairs: What `find` has found, when first asked for.
  """

  find: Callable[[], Mapping[str, Sequence[Pair]]]
  size: tuple[int, ...]

  @functools.cached_property
  def pairs(self) -> Mapping[str, Sequence[Pair]]:
    """As the attribute."""
    return self.find()


def make_name(size: Sequence[int], *settings: Any) -> str:
  """Of a config: its size and a checksum of all that decides what is read."""
  form = "{}x{}".format(*size) if size else "full"
  return f"{form}-{hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:12]}"


class FromFiles(base.Builder, skip_registration=True):
  """A data set whose config has `pairs`, split -> its files, and `size`, the bound of its images.

  It is written on all cores and can be interrupted; see `shards`.

  Attributes:
    full_size_scores: Labels for evaluation keep the size of their files.
    full_size_counts: Class counts are those of the label files, as the reference counts, rather than
      those of the labels as they are stored.
  """

  full_size_scores: ClassVar[bool] = True
  full_size_counts: ClassVar[bool] = False

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image [H,W,3] and label [h,w] of train ids at full size, uint8; ValueError for bad files."""
    raise NotImplementedError

  def check_folders(self) -> None:
    """Raises ValueError if a folder is missing that is needed; done before anything takes time."""

  def more_fields(self, pair: Pair, size: tuple[int, int]) -> dict[str, bytes]:
    """Further features of an example whose image has been resized to `size`."""
    del pair, size
    return {}

  def find_pairs(self) -> Mapping[str, Sequence[Pair]] | None:
    """Split -> its files; None if their folders are gone and the data set is prepared.

    Raises:
      ValueError: Folders or files are missing, and it is not prepared.
    """
    try:
      return self.builder_config.pairs
    except ValueError:
      if self.is_prepared:
        return None
      raise

  def find_changes(self) -> sources.Changes | None:
    """How the files differ from those it was prepared from."""
    pairs = self.find_pairs()
    return sources.find_changes(pathlib.Path(self.data_path), pairs) if pairs else None

  def write(self, *, skip: bool) -> None:
    """Writes it, or continues to; see `shards.write`."""
    self.check_folders()
    shards.write(self, self.builder_config.pairs, self._convert, skip=skip)

  def _convert(self, split: str, pair: Pair) -> shards.Converted:
    image, label = self.read(pair)
    counted = label
    size, bound = image.shape[:2], self.builder_config.size
    if bound:
      size = rescale.keep_ratio_size(size, bound)
      image = rescale.resize_image(image, size)
    if split == "train" or not self.full_size_scores:
      label = rescale.resize_label(label, size)
    if not self.full_size_counts:
      counted = label
    counts = np.bincount(counted.ravel(), minlength=256)[: self.label_space.num_classes]
    name = pair.image.name
    # A JPEG is a quarter of the PNG of its pixels, and `Examples` decodes it as it was read here.
    stored = None if bound else image_files.jpeg_bytes(pair.image)
    example = {
      "name": name,
      "image": stored or image_files.encode_png(image),
      "label": image_files.encode_png(label),
    }
    example |= self.more_fields(pair, size)
    features = self.info.features
    record = features.serialize_example(features.encode_example(example))
    return shards.Converted(name, record, counts.tolist())

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    raise NotImplementedError("written by `write`")  # abstract in the base class
