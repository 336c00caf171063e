"""Random access to a prepared data set, and the forms of its examples.

What training sees of a target has no field for a label: `TargetExample` cannot hold one, and `TargetExamples`
never decodes one.
"""

import hashlib
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict, TypeVar, cast

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import seal


class LabelledExample(TypedDict):
  """An example of the source, or of any domain for evaluation.

  Attributes:
    image: [H,W,3] uint8 RGB.
    label: [h,w] uint8 train ids, 255 = ignore. For training it has the image's size.
  """

  image: np.ndarray
  label: np.ndarray


class TargetExample(TypedDict):
  """An example of the target for training.

  Attributes:
    image: [H,W,3] uint8 RGB.
    day_image: [H,W,3] uint8 RGB of the same place by day, if the data set has it.
    pseudo_label: [H,W] uint8 train ids that a network has predicted, 255 = ignore.
  """

  image: np.ndarray
  day_image: NotRequired[np.ndarray]
  pseudo_label: NotRequired[np.ndarray]


_TFExample = tf_example_pb2.Example  # pyright: ignore[reportAttributeAccessIssue] — made at run time

Example = Mapping[str, Any]  # arrays by field, as in the two classes above
E = TypeVar("E", bound=Example)


def _decode(data: bytes, is_label: bool) -> np.ndarray | None:
  """[H,W,3] uint8 RGB, or [H,W] uint8 of a label; None if `data` is no image."""
  # Not by `cvtColor`: it wakes OpenCV's own threads, which then spin and take cores from others.
  color = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if is_label else color)


class Examples(Sequence[E]):
  """One split of a prepared data set; `examples[i]` holds the fields asked for, in the order of the files.

  Other fields are not decoded. Decoded examples stay in memory until `cache_bytes` are used; later
  examples are decoded each time. Arrays are read-only. Threads may share an object.

  Attributes:
    fields: Some of `image`, `label`, `day_image`.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    *,
    fields: tuple[str, ...],
    cache_bytes: int = 0,
  ):
    """Opens `split` of the data set in `folder`.

    Raises:
      SettingError: The data set has no such split.
    """
    try:
      builder = tfds.builder_from_directory(folder)
    except Exception as error:  # TFDS and protobuf raise many types
      raise seal.DamagedDataError(folder, "dataset_info.json", f"{error}") from error
    if split not in builder.info.splits:
      raise SettingError(
        (), f": {builder.name} has no split {split!r}: it serves evaluation only, see eval.targets."
      )
    raw_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
    self._folder, self._split = folder, split
    self.fields = fields
    try:
      records = builder.as_data_source(split, deserialize_method=raw_bytes)  # pyright: ignore[reportCallIssue]
      self._records = cast(Sequence[bytes], records)
    except Exception as error:  # of the reader of records
      raise seal.DamagedDataError(folder, f"records of {split}", f"{error}") from error
    self._cache: dict[int, E] = {}
    self._bytes_left = cache_bytes
    self._lock = threading.Lock()

  @property
  def names_digest(self) -> str:
    """Hash of the ordered file names; empty if the data set was not built from files."""
    path = self._folder / f"names_{self._split}.json"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> E:  # pyright: ignore[reportIncompatibleMethodOverride] — no slices
    index = int(index)
    if not 0 <= index < len(self):
      raise IndexError(f"example {index} of {len(self)}")
    example = self._cache.get(index)
    return self._remember(index, self._read(index)) if example is None else example

  def _read(self, index: int) -> E:
    place = f"example {index} of {self._split}"
    try:
      # TFDS' own way from here on copies more than once.
      stored = _TFExample.FromString(self._records[index]).features.feature
      data = {name: stored[name].bytes_list.value[0] for name in self.fields}
    except Exception as error:  # the record's hash is another one, or a file has been cut off
      problem = next(iter(str(error).splitlines()), type(error).__name__)[:200]
      raise seal.DamagedDataError(self._folder, place, problem) from error
    example = {name: _decode(value, is_label=name == "label") for name, value in data.items()}
    for name, array in example.items():
      if array is None:
        raise seal.DamagedDataError(self._folder, place, f"its {name} cannot be decoded")
      array.setflags(write=False)  # other readers may share it
    return cast(E, example)

  def _remember(self, index: int, example: E) -> E:
    size = sum(array.nbytes for array in example.values())
    with self._lock:
      if size <= self._bytes_left and index not in self._cache:
        self._cache[index] = example
        self._bytes_left -= size
    return example


class LabelledExamples(Examples[LabelledExample]):
  """Images and labels of one split.

  Attributes:
    class_counts: [N,C] int64 pixels of each class in each label; rare class sampling needs it.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    *,
    class_counts: np.ndarray | None = None,
    cache_bytes: int = 0,
  ):
    """Opens `split` of the data set in `folder`."""
    super().__init__(folder, split, fields=("image", "label"), cache_bytes=cache_bytes)
    self.class_counts = class_counts


class TargetExamples(Examples[TargetExample]):
  """The training images of a target, with their day images if the data set has them. No label is read."""

  def __init__(self, folder: pathlib.Path, *, cache_bytes: int = 0):
    """Opens the training split of the data set in `folder`."""
    features = tfds.builder_from_directory(folder).info.features
    known = cast(tfds.features.FeaturesDict, features)
    fields = tuple(name for name in ("image", "day_image") if name in known)
    super().__init__(folder, "train", fields=fields, cache_bytes=cache_bytes)
