"""Reads PyTorch files (`.pth`, `.pt`, `.bin`) without PyTorch.

Such a file is a pickle, that is, a program that may call any function, and raw numbers beside it. This
reader knows a handful of functions, which all return plain records, and refuses every other. It reads
both formats: the zip archive of PyTorch 1.6 and later, and the earlier stream of pickles.
"""

import collections
import io
import math
import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

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
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001


class Storage(NamedTuple):
  """A flat run of `length` numbers in the file, under the name `key`."""

  dtype: str
  key: str
  length: int


class Tensor(NamedTuple):
  """A strided view of a storage that is not read yet; offset and strides count elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


def _rebuild_tensor(
  storage: Storage, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any
) -> Tensor:
  return Tensor(storage, offset, shape, strides)


def _rebuild_parameter(tensor: Tensor, *_: Any) -> Tensor:
  return tensor


ALLOWED = {
  ("collections", "OrderedDict"): collections.OrderedDict,
  ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
  ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}


class _Unpickler(pickle.Unpickler):
  """Builds containers, scalars, texts and `Tensor`s; raises ValueError if asked for more."""

  def __init__(self, file: BinaryIO):
    super().__init__(file, encoding="utf-8")
    self.storages: dict[str, Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    if module == "torch" and name in DTYPES:
      return DTYPES[name]
    if (module, name) not in ALLOWED:
      raise ValueError(
        f"its pickle asks for {module}.{name}, which is not needed to store weights and might run "
        "anything; where you trust the file, load it with PyTorch and save its state_dict alone"
      )
    return ALLOWED[module, name]

  def persistent_load(self, pid: Any) -> Storage:
    kind, dtype, key, _, count, *view = pid
    if kind != "storage" or any(view):
      raise ValueError(f"its pickle refers to {pid!r}, which is no plain storage")
    self.storages[key] = Storage(dtype, key, count)
    return self.storages[key]


def _item(storage: Storage) -> np.dtype:
  """Returns the dtype of the bytes in the file."""
  return np.dtype("<u2" if storage.dtype == BFLOAT16 else storage.dtype)


def _array(tensor: Tensor, data: bytes) -> np.ndarray:
  """Cuts the tensor's numbers from those of its storage; in C order, bfloat16 as float32."""
  storage, offset, shape, strides = tensor
  dtype = _item(storage)
  if len(data) < storage.length * dtype.itemsize:
    raise ValueError(
      f"it is truncated: storage {storage.key} has {len(data)} bytes for {storage.length} numbers"
    )
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  # NumPy would follow such strides out of the buffer.
  if min((offset, *shape, *strides)) < 0 or (math.prod(shape) and last >= storage.length):
    raise ValueError(f"a tensor of {shape} reaches outside its storage {storage.key}")
  flat = np.frombuffer(data, dtype, storage.length)[offset:]
  view = np.lib.stride_tricks.as_strided(flat, shape, [dtype.itemsize * s for s in strides])
  return widen_bfloat16(view) if storage.dtype == BFLOAT16 else view.copy()


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
  """Returns the float32 numbers whose upper halves are these uint16."""
  return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def _state_dict(content: Any) -> dict[str, Tensor]:
  """Returns the weights in what was pickled: the mapping itself, or the one under a customary name."""
  for key in ("state_dict", "model"):
    if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
      content = content[key]
      break
  entries = content.items() if isinstance(content, Mapping) else ()
  tensors = {name: value for name, value in entries if isinstance(value, Tensor)}
  if not tensors:
    raise ValueError(
      "it holds no mapping from names to tensors, neither by itself nor under 'state_dict' or 'model'"
    )
  return tensors


def _read_zip(file: BinaryIO) -> dict[str, np.ndarray]:
  with zipfile.ZipFile(file) as archive:
    names = archive.namelist()
    pickles = [name for name in names if name.endswith("/data.pkl")]
    if len(pickles) != 1:
      raise ValueError("it is a zip archive, but not one that PyTorch wrote: it has no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    if f"{root}byteorder" in names and archive.read(f"{root}byteorder") != b"little":
      raise ValueError("its numbers are big-endian; save it again on a common machine")
    tensors = _state_dict(_Unpickler(io.BytesIO(archive.read(pickles[0]))).load())
    data = lambda tensor: archive.read(f"{root}data/{tensor.storage.key}")
    return {name: _array(tensor, data(tensor)) for name, tensor in tensors.items()}


def _read_legacy(file: BinaryIO) -> dict[str, np.ndarray]:
  load = lambda: _Unpickler(file).load()
  if load() != LEGACY_MAGIC or load() != LEGACY_PROTOCOL or not load()["little_endian"]:
    raise ValueError("it is a pickle, but not one of PyTorch's formats")
  unpickler = _Unpickler(file)
  tensors = _state_dict(unpickler.load())
  data = {}
  for key in load():
    count = int.from_bytes(file.read(8), "little")
    data[key] = file.read(count * _item(unpickler.storages[key]).itemsize)
  return {name: _array(tensor, data[tensor.storage.key]) for name, tensor in tensors.items()}


# What the standard library raises if the bytes are not a pickle, or not a complete one.
DAMAGE = (
  pickle.UnpicklingError,
  zipfile.BadZipFile,
  EOFError,
  AttributeError,
  LookupError,
  MemoryError,
  OverflowError,
  TypeError,
)


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the tensors of the state dict in a PyTorch file by name, in its dtypes and layout.

  bfloat16 becomes float32. The state dict is what was saved, or its entry `state_dict` or `model`;
  entries that are not tensors are left out.

  Raises:
    ValueError: The file is not PyTorch's, is truncated or damaged, or its pickle asks for more than
      tensors; the message says which.
    OSError: The file cannot be opened.
  """
  with open(path, "rb") as file:
    start = file.read(4)
    file.seek(0)
    try:
      return _read_zip(file) if start == b"PK\3\4" else _read_legacy(file)
    except DAMAGE as error:
      gist = f"{type(error).__name__}: {error}"
      raise ValueError(f"{path} is no PyTorch file, or truncated or damaged ({gist})") from error
    except ValueError as error:
      raise ValueError(f"{path} cannot be read: {error}") from error
