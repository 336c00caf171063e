"""Random access to a prepared data set."""

import functools
import hashlib
import pathlib
import threading
from collections.abc import Sequence

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

Example = dict[str, np.ndarray]


def _decode(data: bytes, is_label: bool) -> np.ndarray | None:
  """[H,W,3] uint8 RGB, or [H,W] uint8 of a label; None if `data` is no image."""
  # Not by `cvtColor`: it wakes OpenCV's own threads, which then spin and take cores from others.
  color = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED if is_label else color)


class Examples(Sequence[Example]):
  """One split; `examples[i]` is a dict of the asked-for fields, in the order of the files.

  `image` is uint8 [H,W,3] RGB and `label` uint8 [H,W] train ids, 255 = ignore; some targets
  have a `day_image` [H,W,3] of the same place by day. Arrays are read-only.
  Other fields are not decoded. Decoded examples stay in memory until `cache_bytes` are used; later
  ones are decoded each time. Threads may share an object.

  Attributes:
    fields: Some of `image`, `label`, `day_image`.
    class_counts: [N,C] int64 pixels of each class in each label, if given; rare class sampling needs it.
  """

  def __init__(
    self,
    folder: pathlib.Path,
    split: str,
    *,
    fields: tuple[str, ...],
    class_counts: np.ndarray | None = None,
    cache_bytes: int = 0,
  ):
    builder = tfds.builder_from_directory(folder)
    if split not in builder.info.splits:
      raise ValueError(
        f"{builder.name} has no split {split!r}: it serves evaluation only, see config.eval.targets."
      )
    raw_bytes = tfds.decode.DeserializeMethod.RAW_BYTES
    self._folder, self._split = folder, split
    self.fields = fields
    self.class_counts = class_counts
    self._records = builder.as_data_source(split, deserialize_method=raw_bytes)
    self._cache: dict[int, Example] = {}
    self._bytes_left = cache_bytes
    self._lock = threading.Lock()

  @functools.cached_property
  def names_digest(self) -> str:
    """Stands for the file names in their order; empty of a data set without files."""
    path = self._folder / f"names_{self._split}.json"
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else ""

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> Example:
    index = int(index)
    if not 0 <= index < len(self):
      raise IndexError(f"example {index} of {len(self)}")
    example = self._cache.get(index)
    return self._remember(index, self._read(index)) if example is None else example

  def _read(self, index: int) -> Example:
    # TFDS' own way from here on copies more than once.
    stored = tf_example_pb2.Example.FromString(self._records[index]).features.feature
    example = {
      name: _decode(stored[name].bytes_list.value[0], is_label=name == "label")
      for name in self.fields
    }
    for name, array in example.items():
      if array is None:
        raise ValueError(
          f"Example {index} of {self._folder}: its {name} cannot be decoded. Remove the folder, so that "
          "the data set is prepared again."
        )
      array.setflags(write=False)  # other readers may share it
    return example

  def _remember(self, index: int, example: Example) -> Example:
    size = sum(array.nbytes for array in example.values())
    with self._lock:
      if size <= self._bytes_left and index not in self._cache:
        self._cache[index] = example
        self._bytes_left -= size
    return example
