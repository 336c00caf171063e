"""Weight files of any kind: PyTorch's `.pth`, `.pt` and `.bin`, and `.safetensors`."""

import dataclasses
import hashlib
import pathlib

import numpy as np

from jax_uda.models.weights import safetensors_file, torch_file


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """What a file holds.

  Attributes:
    path: Where it was read.
    sha256: Of the whole file, hexadecimal.
    tensors: By name, in the file's dtypes (bfloat16 as float32) and in PyTorch's layout.
  """

  path: pathlib.Path
  sha256: str
  tensors: dict[str, np.ndarray]


def read(path: str | pathlib.Path) -> WeightFile:
  """Reads a weight file; needs no PyTorch and runs no code of the file.

  Raises:
    ValueError: there is no such file, or it is truncated, damaged, of another kind, or asks for more
      than tensors.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise ValueError(f"{path}: there is no such weight file; weights are not downloaded for you")
  with open(path, "rb") as file:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
  reader = safetensors_file if path.suffix == ".safetensors" else torch_file
  return WeightFile(path, sha256, reader.read(path))
