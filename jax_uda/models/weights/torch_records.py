"""What PyTorch's pickles ask for: tensors as views of storages, and NumPy's arrays.

The functions here read `pickle_data.Record`s. They check every number that comes from the file, so that
a `Tensor` never reaches outside the storage that it names.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_uda.models.weights.pickle_data import Global, Record, Reference

BFLOAT16 = "bfloat16"  # unknown to NumPy; its bits are the upper half of a float32's
DTYPES = {
  "FloatStorage": "<f4",
  "DoubleStorage": "<f8",
  "HalfStorage": "<f2",
  "BFloat16Storage": BFLOAT16,
  "LongStorage": "<i8",
  "IntStorage": "<i4",
  "ShortStorage": "<i2",
  "CharStorage": "|i1",
  "ByteStorage": "|u1",
  "BoolStorage": "|b1",
}
MAX_RANK = 64  # NumPy's
# What is made around a tensor; the number is the place of that tensor among the arguments.
AROUND = {
  Global("torch._utils", "_rebuild_parameter"): 0,
  Global("torch._utils", "_rebuild_parameter_with_state"): 0,
  Global("torch.nn.parameter", "Parameter"): 0,
}
STRIDED = {Global("torch._utils", "_rebuild_tensor_v2"), Global("torch._utils", "_rebuild_tensor")}
TYPED = Global("torch._tensor", "_rebuild_from_type_v2")
ARRAYS = {Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}
BUFFERS = {Global(f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")}


class Storage(NamedTuple):
  """A flat run of `length` numbers in the file, under the name `key`."""

  dtype: str
  key: str
  length: int

  @property
  def item(self) -> np.dtype:
    """The dtype of the bytes in the file."""
    return np.dtype("<u2" if self.dtype == BFLOAT16 else self.dtype)

  @property
  def num_bytes(self) -> int:
    """The number of bytes in the file."""
    return self.length * self.item.itemsize


class Tensor(NamedTuple):
  """A strided view of a storage that is not read yet; offset and strides count elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]

  @property
  def num_bytes(self) -> int:
    """The number of bytes of the array that it becomes."""
    size = 4 if self.storage.dtype == BFLOAT16 else self.storage.item.itemsize
    return math.prod(self.shape) * size


class Array(NamedTuple):
  """NumPy's array as its bytes, which protocol 2 writes as text; `order` is "C" or "F"."""

  data: bytes | bytearray | str
  item: np.dtype
  shape: tuple[int, ...]
  order: Any

  @property
  def num_bytes(self) -> int:
    """The number of bytes of the array."""
    return math.prod(self.shape) * self.item.itemsize

  def read(self) -> np.ndarray:
    """The array; a copy of the bytes, in the machine's order."""
    data = self.data.encode("latin-1") if isinstance(self.data, str) else self.data
    numbers = np.frombuffer(data, self.item).reshape(self.shape, order=self.order)
    return numbers.astype(self.item.newbyteorder("="), order="C")


def tensor_of(value: Any) -> Tensor | Array | None:
  """The tensor or the array that a record describes; None if it describes something else.

  Raises:
    ValueError: It describes a tensor of a kind that cannot be read, or one that is not consistent.
  """
  for _ in range(8):  # a parameter around a tensor, and the like
    if not isinstance(value, Record) or not isinstance(value.maker, Global):
      return None
    if value.maker in AROUND:
      value = _argument(value, AROUND[value.maker])
    elif value.maker == TYPED:
      value = Record(_argument(value, 0), _argument(value, 2))
    else:
      break
  if value.maker in STRIDED:
    return _strided(value)
  if value.maker in ARRAYS:
    return _array(value.state)
  if value.maker in BUFFERS:
    return _buffer(value.arguments)
  if value.maker.module.startswith("torch") and value.maker.name.startswith("_rebuild"):
    raise ValueError(f"it holds a tensor that {value.maker} makes; save it as a plain one")
  return None


def storage_of(value: Any) -> Storage:
  """The storage that a pickle refers to.

  Raises:
    ValueError: The reference is none to a plain storage.
  """
  pid = value.pid if isinstance(value, Reference) else None
  match pid:
    case ("storage", Global("torch", kind), str(key), str(), int(length), *view):
      if kind in DTYPES and length >= 0 and not any(part is not None for part in view):
        return Storage(DTYPES[kind], key, length)
      raise ValueError(
        f"its pickle refers to a torch.{ascii(kind)[1:-1]}, which is no plain storage"
      )
  raise ValueError("its pickle refers to something that is no plain storage")


def _argument(record: Record, place: int) -> Any:
  """The argument of a call at a place; None if it is missing."""
  arguments = record.arguments
  return arguments[place] if isinstance(arguments, tuple) and len(arguments) > place else None


def _sizes(value: Any) -> tuple[int, ...]:
  """A tuple of sizes or strides.

  Raises:
    ValueError: The value is anything else.
  """
  if isinstance(value, Record) and value.maker == Global("torch", "Size"):
    value = _argument(value, 0)
  if not isinstance(value, tuple | list) or len(value) > MAX_RANK:
    raise ValueError("a tensor's shape or strides are no short tuple")
  if not all(type(size) is int and abs(size) < 2**62 for size in value):
    raise ValueError("a tensor's shape or strides are no whole numbers")
  return tuple(value)


def _strided(record: Record) -> Tensor:
  storage = storage_of(_argument(record, 0))
  offset, shape, strides = (_argument(record, place) for place in (1, 2, 3))
  (offset,), shape, strides = _sizes((offset,)), _sizes(shape), _sizes(strides)
  if len(shape) != len(strides):
    raise ValueError(f"a tensor of {shape} has strides {strides}")
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  # NumPy would follow such strides out of the buffer.
  if min((offset, *shape, *strides)) < 0 or (math.prod(shape) and last >= storage.length):
    raise ValueError(f"a tensor of {shape} reaches outside its storage {ascii(storage.key)[1:-1]}")
  return Tensor(storage, offset, shape, strides)


def _array(state: Any) -> Array:
  """NumPy's array from the state with which it is pickled."""
  match state:
    case (_, shape, dtype, bool(fortran), data):
      return _from_bytes(data, dtype, shape, "F" if fortran else "C")
  raise ValueError("it holds a NumPy array of an unknown kind")


def _buffer(arguments: Any) -> Array:
  """NumPy's array from the arguments with which protocol 5 pickles it."""
  match arguments:
    case (data, dtype, shape, "C" | "F" as order):
      return _from_bytes(data, dtype, shape, order)
  raise ValueError("it holds a NumPy array of an unknown kind")


def _from_bytes(data: Any, dtype: Any, shape: Any, order: Any) -> Array:
  if isinstance(data, Record) and data.maker == Global("_codecs", "encode"):
    data = _argument(data, 0)
  if not isinstance(data, bytes | bytearray | str):
    raise ValueError("it holds a NumPy array of an unknown kind")
  array = Array(data, _dtype(dtype), _sizes(shape), order)
  if len(data) != array.num_bytes:
    raise ValueError(f"it holds a NumPy array of {array.shape} with another number of bytes")
  return array


def _dtype(record: Any) -> np.dtype:
  """NumPy's dtype of numbers from the record of it."""
  name = _argument(record, 0) if isinstance(record, Record) else None
  order = "|"
  if isinstance(record, Record) and isinstance(record.state, Sequence) and len(record.state) > 1:
    order = record.state[1]
  if name not in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "b1") or order not in "<>|=":
    raise ValueError("it holds a NumPy array that is not one of plain numbers")
  return np.dtype(name if order in "|=" else order + name)


def mapping_of(value: Any) -> Mapping[Any, Any] | None:
  """The entries of a mapping or of a record of one (OrderedDict, defaultdict, …); else None."""
  if isinstance(value, dict):
    return value
  return value.entries if isinstance(value, Record) and value.entries else None
