"""Random access to a prepared data set, and the forms of its examples.

What training sees of a target has no field for a label: `TargetExample` cannot hold one, and `TargetExamples`
never decodes one.
"""

import contextlib
import hashlib
import io
import json
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, Protocol, TypedDict, TypeVar, cast, runtime_checkable

import cv2
import numpy as np
import PIL.Image
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from jax_uda.common import state_files
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import seal
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.rescale import Size


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


# Not by `cvtColor`: it wakes OpenCV's own threads, which then spin and take cores from others.
_COLOR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def decode_image(data: bytes) -> np.ndarray | None:
  """[H,W,3] uint8 RGB; None if `data` is no image."""
  return cv2.imdecode(np.frombuffer(data, np.uint8), _COLOR)


def _decode_label(data: bytes) -> np.ndarray | None:
  """[H,W] uint8; None if `data` is no image."""
  return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _decode(features: Mapping[str, Any], name: str) -> np.ndarray | None:
  """A field of a stored example at the size that batches show; None if it cannot be decoded.

  Args:
    features: The stored features by name. `image_size` and `label_size` are (height, width) to which
      images and labels are resized; without them, they are shown as they are stored.
    name: The field.
  """
  kind = "label" if name == "label" else "image"
  data = features[name].bytes_list.value[0]
  array = decode_image(data) if kind == "image" else _decode_label(data)
  if array is None or f"{kind}_size" not in features:
    return array
  height, width = features[f"{kind}_size"].int64_list.value
  if array.shape[:2] == (height, width):
    return array
  resize = rescale.resize_image if kind == "image" else rescale.resize_label
  return resize(array, (height, width))


def _stored_size(features: Mapping[str, Any], name: str) -> Size:
  """(height, width) at which a field of a stored example is read; the image is not decoded."""
  if f"{name}_size" in features:  # stored as the file was, and resized when it is read
    height, width = features[f"{name}_size"].int64_list.value
    return int(height), int(width)
  with PIL.Image.open(io.BytesIO(features[name].bytes_list.value[0])) as image:
    return image.height, image.width


@runtime_checkable
class HasSizes(Protocol):
  """Examples that know their sizes without decoding."""

  def sizes(self, name: str = "image") -> list[Size]:
    """(height, width) of a field of all examples."""
    ...


def sizes_of(examples: Sequence[Example], name: str = "image") -> list[Size]:
  """(height, width) of a field of all examples; those of a prepared data set are not decoded."""
  if isinstance(examples, HasSizes):
    return examples.sizes(name)
  shapes = (np.shape(example[name]) for example in examples)
  return [(shape[0], shape[1]) for shape in shapes]


class Selection(Sequence[Example]):
  """Some examples, in an order of their own.

  Attributes:
    indices: Their numbers.
    fields: The fields that are kept.
  """

  def __init__(self, examples: Sequence[Example], indices: Sequence[int], fields: tuple[str, ...]):
    """Takes all examples, the numbers of those that are selected, and the fields to keep."""
    self._examples, self.indices, self.fields = examples, indices, fields

  def __len__(self) -> int:
    return len(self.indices)

  def __getitem__(self, index: int) -> Example:  # pyright: ignore[reportIncompatibleMethodOverride] — no slices
    example = self._examples[self.indices[index]]
    return {name: example[name] for name in self.fields}


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

  def sizes(self, name: str) -> list[Size]:
    """(height, width) of `image` or `label` of each example, from the headers; kept in a file."""
    path = self._folder / f"sizes_{self._split}_{name}.json"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
      stored = state_files.parse(path.read_bytes(), dict)["sizes"]
      sizes = [(int(height), int(width)) for height, width in stored]
      if len(sizes) == len(self):
        return sizes
    features = (_TFExample.FromString(record).features.feature for record in self._records)
    sizes = [_stored_size(stored, name) for stored in features]
    with contextlib.suppress(OSError):  # the folder may be read-only
      state_files.write_json(path, {"sizes": sizes}, indent=None)
    return sizes

  @property
  def names(self) -> list[str]:
    """The file names in order; empty if the data set was not built from files."""
    path = self._folder / f"names_{self._split}.json"
    return json.loads(path.read_text()) if path.is_file() else []

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
      example = {name: _decode(stored, name) for name in self.fields}
    except Exception as error:  # the record's hash is another one, or a file has been cut off
      problem = next(iter(str(error).splitlines()), type(error).__name__)[:200]
      raise seal.DamagedDataError(self._folder, place, problem) from error
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
