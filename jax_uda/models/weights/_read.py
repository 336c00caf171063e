"""Weight files of any kind: PyTorch's `.pth`, `.pt` and `.bin`, and `.safetensors`."""

import dataclasses
import hashlib
import importlib.util
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


def _locate(path: str | pathlib.Path) -> pathlib.Path:
  """The file; `package:NAME/…` is one in the folder of an installed package, which is not run."""
  scheme, colon, rest = str(path).partition(":")
  if not colon or scheme != "package":
    return pathlib.Path(path).expanduser()
  package, _, inner = rest.partition("/")
  spec = importlib.util.find_spec(package) if package.isidentifier() else None
  if spec is None or not spec.submodule_search_locations:
    raise ValueError(f"{path}: the package {package!r} is not installed")
  return pathlib.Path(spec.submodule_search_locations[0]) / inner


def read(path: str | pathlib.Path) -> WeightFile:
  """Reads a weight file; needs no PyTorch and runs no code of the file.

  Args:
    path: A path, `~` allowed, or `package:NAME/…` for a file in an installed Python package.

  Raises:
    ValueError: there is no such file, or it is truncated, damaged, of another kind, or asks for more
      than tensors.
  """
  path = _locate(path)
  if not path.is_file():
    raise ValueError(f"{path}: there is no such weight file; weights are not downloaded for you")
  with open(path, "rb") as file:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
  reader = safetensors_file if path.suffix == ".safetensors" else torch_file
  return WeightFile(path, sha256, reader.read(path))
