"""Reads and writes files of the `safetensors` library, which the optional extra `weights` installs."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

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
    ValueError: The file is truncated or damaged, or holds numbers of a type that weights do not have.
    ImportError: The library is not installed.
  """
  library = _library()
  try:
    content = library.deserialize(pathlib.Path(path).read_bytes())
  except library.SafetensorError as error:
    raise ValueError(f"{path} is no safetensors file, or truncated or damaged ({error})") from error
  return {name: _array(path, name, value) for name, value in content}


def _array(path: str | pathlib.Path, name: str, value: Mapping[str, Any]) -> np.ndarray:
  # The library's NumPy reader does not support bfloat16.
  if value["dtype"] == "BF16":
    bits = np.frombuffer(value["data"], "<u2").reshape(value["shape"])
    return torch_file.widen_bfloat16(bits)
  if value["dtype"] not in DTYPES:
    raise ValueError(f"{path}: tensor {name} holds {value['dtype']}, which weights never do")
  return np.frombuffer(value["data"], DTYPES[value["dtype"]]).reshape(value["shape"]).copy()


def write(
  path: str | pathlib.Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
  """Writes tensors by name, with texts about them.

  Raises:
    ImportError: The library is not installed.
  """
  # The library would silently write a transposed view in its memory order.
  contiguous = {name: np.array(tensor, order="C") for name, tensor in tensors.items()}
  # The library's `save_file` would make the file readable to its owner only.
  content = _library().numpy.save(contiguous, metadata=dict(metadata))
  pathlib.Path(path).write_bytes(content)
