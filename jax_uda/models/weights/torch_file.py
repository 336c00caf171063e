"""Reads PyTorch files (`.pth`, `.pt`, `.bin`) without PyTorch.

Such a file is a pickle, that is, a program that may call any function, and raw numbers beside it.
`pickle_data` reads the program as data. Both formats are known: the zip archive of PyTorch 1.6 and later,
and the earlier stream of pickles. A pickled mapping of NumPy arrays is read as well.

Nothing is believed before it is compared with the file: the sizes that its pickle and its zip directory
declare, and the size of all tensors together, which is at most `MULTIPLE` times that of the file.
"""

import collections
import io
import os
import pathlib
import pickle
import zipfile
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np

from jax_uda.models.weights import pickle_data
from jax_uda.models.weights.nesting import Weights, find_weights
from jax_uda.models.weights.torch_records import BFLOAT16, Array, Storage, Tensor, storage_of

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MULTIPLE = 2  # bfloat16 becomes float32
SLACK = 2**20  # bytes that a small file may need beyond it
CHUNK = 2**20  # bytes that are read together
MAX_DIRECTORY = 2**23  # bytes; some 100 for each tensor

# Copies the bytes of a storage from the file into an array of uint8.
ReadInto = Callable[[Storage, np.ndarray], Any]


def limit_of(file_size: int) -> int:
  """Bytes that the content of a file of so many bytes may have in memory."""
  return MULTIPLE * file_size + SLACK


def widen_bfloat16(bits: np.ndarray) -> np.ndarray:
  """Returns the float32 numbers whose upper halves are these uint16."""
  wide = np.zeros((*bits.shape, 2), "<u2")
  wide[..., 1] = bits
  return wide.view("<f4")[..., 0]


def _cut(tensor: Tensor, data: np.ndarray) -> np.ndarray:
  """Cuts the tensor's numbers from the bytes of its storage; in C order, bfloat16 as float32."""
  storage, offset, shape, strides = tensor
  flat = data.view(storage.item)[offset:]
  view = np.lib.stride_tricks.as_strided(
    flat, shape, [storage.item.itemsize * stride for stride in strides]
  )
  if storage.dtype == BFLOAT16:
    return widen_bfloat16(view)
  if view.nbytes == data.nbytes and view.flags.c_contiguous:
    return flat.reshape(shape)  # the whole storage, which needs no second copy
  return view.copy()


def _arrays(tensors: Weights, limit: int, read_into: ReadInto) -> dict[str, np.ndarray]:
  """Reads every storage once, and cuts its tensors from it.

  Raises:
    ValueError: The tensors would need more memory than `limit` bytes.
  """
  views = {name: value for name, value in tensors.items() if isinstance(value, Tensor)}
  pickled = {name: value for name, value in tensors.items() if isinstance(value, Array)}
  storages = {view.storage for view in views.values()}
  need = sum(tensor.num_bytes for tensor in (*set(views.values()), *pickled.values()))
  need = max(need, sum(storage.num_bytes for storage in storages))
  if need > limit:
    raise ValueError(
      f"its tensors would need {need} bytes of memory, more than {MULTIPLE} times the size of the file; it "
      "is damaged, or made to exhaust memory"
    )
  names = collections.defaultdict(list)
  for name, view in views.items():
    names[view.storage].append(name)
  arrays = {name: array.read() for name, array in pickled.items()}
  for storage in storages:
    data, cut = np.empty(storage.num_bytes, np.uint8), {}
    read_into(storage, data)
    for name in names[storage]:
      view = views[name]
      cut[view] = arrays[name] = cut[view] if view in cut else _cut(view, data)
  return {name: arrays[name] for name in tensors}


def _fill(stream: Any, data: np.ndarray, what: str) -> None:
  """Reads bytes into an array piece by piece, since a stream may hold a copy of what is read at once."""
  view, done = data.data, 0
  while done < len(data):
    count = stream.readinto(view[done : done + CHUNK])
    if not count:
      raise EOFError(f"{what} has {done} bytes of {len(data)}")
    done += count


class _Pieces(io.BufferedReader):
  """A file of which only the directory of a zip archive is read at once, up to `MAX_DIRECTORY` bytes."""

  def read(self, size: int | None = -1, /) -> bytes:
    if size is not None and size > MAX_DIRECTORY:
      raise ValueError("its zip directory is far larger than that of weights")
    return super().read(size)

  def seek(self, target: int, whence: int = os.SEEK_SET, /) -> int:
    if whence == os.SEEK_SET and target < 0:
      raise zipfile.BadZipFile("its directory points outside the file")
    return super().seek(target, whence)


class _Archive:
  """The members of a zip archive, as far as they are not larger than its file allows."""

  def __init__(self, archive: zipfile.ZipFile, limit: int):
    self.archive = archive
    self.limit = limit
    self.members = {info.filename: info for info in archive.infolist()}

  def read(self, name: str, data: np.ndarray | None = None) -> np.ndarray:
    """The bytes of a member; with `data`, at least that many, read into it."""
    if name not in self.members:
      raise EOFError(f"{ascii(name)} is missing")
    size = self.members[name].file_size
    if self.members[name].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
      raise ValueError(f"its member {ascii(name)} is compressed in a way that PyTorch does not use")
    if size > self.limit:
      raise ValueError(
        f"its member {ascii(name)} would unpack to {size} bytes, far more than the size of the file; it was "
        "made to exhaust memory"
      )
    data = np.empty(size, np.uint8) if data is None else data
    if len(data) > size:
      raise EOFError(f"storage {ascii(name)} has {size} bytes for {len(data)}")
    with self.archive.open(name) as member:
      _fill(member, data, ascii(name))
    return data


def _read_zip(path: str | pathlib.Path, limit: int) -> dict[str, np.ndarray]:
  with _Pieces(io.FileIO(path)) as file, zipfile.ZipFile(file) as opened:
    archive = _Archive(opened, limit)
    pickles = [name for name in archive.members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
      raise ValueError("it is a zip archive, but not one that PyTorch wrote: it has no data.pkl")
    root = pickles[0].removesuffix("data.pkl")
    order = f"{root}byteorder"
    if order in archive.members and archive.read(order).tobytes() != b"little":
      raise ValueError("its numbers are big-endian; save it again on a common machine")
    content = pickle_data.load(io.BytesIO(archive.read(pickles[0]).tobytes()))
    read_into = lambda storage, data: archive.read(f"{root}data/{storage.key}", data)
    return _arrays(find_weights(content), limit, read_into)


class _Bounded:
  """A file that never asks for memory for more bytes than it has."""

  def __init__(self, file: BinaryIO, size: int):
    self.file = file
    self.size = size

  def read(self, count: int, /) -> bytes:
    """At most `count` bytes."""
    return self.file.read(min(count, self.size - self.file.tell()))

  def readline(self) -> bytes:
    """The bytes up to the next end of a line, and that."""
    return self.file.readline()


def _read_legacy(file: BinaryIO, size: int, limit: int) -> dict[str, np.ndarray]:
  bounded = _Bounded(file, size)
  load = lambda: pickle_data.load(bounded)
  magic = load()
  if not isinstance(magic, int):
    return _arrays(find_weights(magic), limit, _no_storages)
  if magic != LEGACY_MAGIC or load() != LEGACY_PROTOCOL:
    raise ValueError("it is a pickle, but not one of PyTorch's formats")
  machine = load()
  if not isinstance(machine, dict) or machine.get("little_endian") is not True:
    raise ValueError("its numbers are big-endian; save it again on a common machine")
  references: list[pickle_data.Reference] = []
  content = pickle_data.load(bounded, references)
  storages = {storage.key: storage for storage in map(storage_of, references)}
  places: dict[str, int] = {}
  for key in load():
    storage = storages[key]
    count = int.from_bytes(bounded.read(8), "little")
    places[key] = file.tell()
    if count != storage.length or places[key] + storage.num_bytes > size:
      raise EOFError(f"storage {ascii(key)} has not the {storage.length} numbers of its tensors")
    file.seek(storage.num_bytes, os.SEEK_CUR)

  def read_into(storage: Storage, data: np.ndarray) -> None:
    if storages[storage.key] != storage:
      raise ValueError(f"storage {ascii(storage.key)} has two lengths")
    file.seek(places[storage.key])
    _fill(file, data, f"storage {ascii(storage.key)}")

  return _arrays(find_weights(content), limit, read_into)


def _no_storages(storage: Storage, data: np.ndarray) -> None:
  raise ValueError("it is a pickle with tensors, but not one of PyTorch's formats")


# What the standard library raises if the bytes are not a pickle, or not a complete one.
DAMAGE = (
  pickle.UnpicklingError,
  zipfile.BadZipFile,
  zlib.error,
  EOFError,
  AttributeError,
  LookupError,
  MemoryError,
  OverflowError,
  RecursionError,
  RuntimeError,  # an encrypted member
  TypeError,
)


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the tensors of the state dict in a PyTorch file by name, in its dtypes and layout.

  bfloat16 becomes float32. `nesting.find_weights` says where the state dict is looked for; entries that
  are not tensors are left out, and nothing of theirs is executed.

  Raises:
    ValueError: The file is not PyTorch's, is truncated or damaged, has no tensors, or would need more than
      `MULTIPLE` times its size; the message says which.
    OSError: The file cannot be opened.
  """
  size = os.path.getsize(path)
  with open(path, "rb") as file:
    start = file.read(4)
    file.seek(0)
    try:
      if start == b"PK\3\4":
        return _read_zip(path, limit_of(size))
      return _read_legacy(file, size, limit_of(size))
    except DAMAGE as error:
      gist = ascii(f"{type(error).__name__}: {error}"[:300])[1:-1]
      raise ValueError(f"{path} is no PyTorch file, or truncated or damaged ({gist})") from error
    except ValueError as error:
      raise ValueError(f"{path} cannot be read: {error}") from error
