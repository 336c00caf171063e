"""Reads weight files of any kind: PyTorch's `.pth`, `.pt` and `.bin`, and `.safetensors`."""

import dataclasses
import hashlib
import importlib.util
import pathlib

import numpy as np

from jax_uda.models.weights import safetensors_file, torch_file


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """The content of a weight file.

  Attributes:
    path: The file that was read.
    sha256: Hash of the whole file, hexadecimal.
    tensors: Arrays by name, in the file's dtypes (bfloat16 as float32) and in PyTorch's layout.
  """

  path: pathlib.Path
  sha256: str
  tensors: dict[str, np.ndarray]


def locate(path: str | pathlib.Path) -> pathlib.Path:
  """Resolves `~`, and `package:NAME/…` to a file of an installed package, which is not imported."""
  scheme, colon, rest = str(path).partition(":")
  if not colon or scheme != "package":
    return pathlib.Path(path).expanduser()
  package, _, inner = rest.partition("/")
  spec = importlib.util.find_spec(package) if package.isidentifier() else None
  if spec is None or not spec.submodule_search_locations:
    raise ValueError(f"{path}: the package {package!r} is not installed")
  return pathlib.Path(spec.submodule_search_locations[0]) / inner


def read(path: str | pathlib.Path) -> WeightFile:
  """Reads a weight file without PyTorch and without running code from the file.

  Args:
    path: A path, which may begin with `~`, or `package:NAME/…` for a file of an installed Python
      package.

  Raises:
    ValueError: The file does not exist, is truncated, damaged or of another kind, or its pickle asks
      for more than tensors.
  """
  path = locate(path)
  if not path.is_file():
    raise ValueError(f"{path}: there is no such weight file; weights are not downloaded for you")
  with open(path, "rb") as file:
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
  reader = safetensors_file if path.suffix == ".safetensors" else torch_file
  return WeightFile(path, sha256, reader.read(path))
