"""Reads and writes files of the `safetensors` library, which the optional extra `weights` installs.

What is written here holds a checksum of its content, which is compared when the file is read: the format
has none, and a single flipped bit would be another weight.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jax_uda.common import files
from jax_uda.models.weights import torch_file

DTYPES = {
  "F64": "<f8",
  "F32": "<f4",
  "F16": "<f2",
  "I64": "<i8",
  "I32": "<i4",
  "I16": "<i2",
  "I8": "|i1",
  "U8": "|u1",
  "BOOL": "|b1",
}
MAX_HEADER = 2**24  # bytes; some 100 for each tensor
CHECKSUM, WRITER = "sha256_of_content", "written_by"
US = "jax_uda"


def _library() -> Any:
  try:
    import safetensors.numpy
  except ImportError:
    raise ImportError(
      'safetensors files need the library: pip install safetensors, or install ".[weights]"'
    ) from None
  return safetensors


def read(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Returns the tensors by name, in the file's dtypes; bfloat16 becomes float32.

  Raises:
    ValueError: The file is truncated or damaged, has not the content that its checksum is of, or holds
      numbers of a type that weights do not have.
    ImportError: The library is not installed.
  """
  library, path = _library(), pathlib.Path(path)
  with open(path, "rb") as file:
    header = int.from_bytes(file.read(8), "little")
  if header > min(MAX_HEADER, path.stat().st_size):
    raise ValueError(
      f"{path} is no safetensors file, or truncated or damaged (a header of {header} bytes)"
    )
  try:
    # The library copies the file once. It checks that the tensors lie one behind the other in it.
    content = library.deserialize(path.read_bytes())
  except library.SafetensorError as error:
    gist = ascii(str(error)[:300])[1:-1]
    raise ValueError(f"{path} is no safetensors file, or truncated or damaged ({gist})") from error
  parts = {name: (value["dtype"], value["shape"], value["data"]) for name, value in content}
  _check(path, read_metadata(path), parts)
  return {name: _array(path, name, *part) for name, part in parts.items()}


def read_metadata(path: str | pathlib.Path) -> dict[str, str]:
  """Returns the texts about the tensors.

  Raises:
    ImportError: The library is not installed.
  """
  with _library().safe_open(path, "numpy") as file:
    return dict(file.metadata() or {})


def _array(
  path: str | pathlib.Path, name: str, dtype: str, shape: list[int], data: bytearray
) -> np.ndarray:
  # The library's NumPy reader does not support bfloat16.
  if dtype == "BF16":
    return torch_file.widen_bfloat16(np.frombuffer(data, "<u2").reshape(shape))
  if dtype not in DTYPES:
    raise ValueError(f"{path}: tensor {ascii(name)[1:-1]} holds {dtype}, which weights never do")
  array = np.frombuffer(data, DTYPES[dtype]).reshape(shape)
  return array if array.flags.writeable else array.copy()


def _checksum(metadata: Mapping[str, str], parts: Mapping[str, tuple[str, Any, Any]]) -> str:
  """Hash of names, dtypes, shapes and numbers, and of the texts about them."""
  texts = {name: text for name, text in metadata.items() if name != CHECKSUM}
  described = ((name, dtype, list(shape)) for name, (dtype, shape, _) in sorted(parts.items()))
  hashed = hashlib.sha256(json.dumps([texts, *described], sort_keys=True).encode())
  for _, (_, _, data) in sorted(parts.items(), key=lambda part: part[0]):
    hashed.update(data)
  return hashed.hexdigest()


def _check(
  path: pathlib.Path, metadata: Mapping[str, str], parts: Mapping[str, tuple[str, Any, Any]]
) -> None:
  """Compares the checksum. Either text says that there is one, so that neither can be lost unnoticed."""
  if CHECKSUM not in metadata and metadata.get(WRITER) != US:
    return  # another program's
  if metadata.get(CHECKSUM) != _checksum(metadata, parts):
    raise ValueError(
      f"{path} is damaged: its checksum is not that of its content; copy, export or import it again"
    )


def write(
  path: str | pathlib.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
  """Writes tensors by name, with texts about them and a checksum.

  Raises:
    ImportError: The library is not installed.
    OSError: The file cannot be written; an earlier one stays as it was.
  """
  library = _library()
  # The library would silently write a transposed view in its memory order.
  contiguous = {name: np.array(tensor, order="C") for name, tensor in tensors.items()}
  names = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
  parts = {
    name: (names[tensor.dtype], tensor.shape, _bytes(tensor)) for name, tensor in contiguous.items()
  }
  texts = {**metadata, WRITER: US}
  texts[CHECKSUM] = _checksum(texts, parts)
  # The library's `save_file` would make the file readable to its owner only.
  content = library.numpy.save(contiguous, metadata=texts)
  files.write_bytes_atomically(pathlib.Path(path), content)


def _bytes(tensor: np.ndarray) -> memoryview:
  """The numbers as they lie in memory, without a copy."""
  return tensor.reshape(-1).view(np.uint8).data
