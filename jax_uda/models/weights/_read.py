"""Reads weight files of any kind: PyTorch's `.pth`, `.pt` and `.bin`, and `.safetensors`."""

import dataclasses
import hashlib
import importlib.util
import pathlib
from collections.abc import Mapping

import numpy as np

from jax_uda.models.weights import safetensors_file, torch_file

MAX_NAME = 500  # characters of a tensor's name
# First bytes of what is there instead of weights after a download that went wrong.
MISTAKES = {
  b"version https://git-lfs": "the placeholder of a file in Git LFS; get the file itself (git lfs pull)",
  b"<": "a page of the web; get the file itself",
}


@dataclasses.dataclass(frozen=True)
class WeightFile:
  """The content of a weight file.

  Attributes:
    path: The file that was read.
    sha256: Hash of the whole file, hexadecimal.
    tensors: Arrays by name, in the file's dtypes (bfloat16 as float32) and in PyTorch's layout.
    metadata: Texts about the tensors, which `.safetensors` may have.
  """

  path: pathlib.Path
  sha256: str
  tensors: dict[str, np.ndarray]
  metadata: Mapping[str, str] = dataclasses.field(default_factory=dict)


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


def find(path: str | pathlib.Path) -> pathlib.Path:
  """As `locate`; raises ValueError if there is no such file."""
  path = locate(path)
  if not path.is_file():
    raise ValueError(f"{path}: there is no such weight file; weights are not downloaded for you")
  return path


def read(path: str | pathlib.Path, *, finite: bool = True) -> WeightFile:
  """Reads a weight file without PyTorch and without running code from the file.

  The tensors need at most twice the memory of the file, and reading them four times; what the file
  declares is not believed before.

  Args:
    path: A path, which may begin with `~`, or `package:NAME/…` for a file of an installed Python
      package.
    finite: False: tensors that are not finite are accepted.

  Raises:
    ValueError: The file does not exist, is truncated, damaged or of another kind, its checksum is not that
      of its tensors, its tensors do not fit its size, or a tensor has a number that is not finite.
  """
  path = find(path)
  with open(path, "rb") as file:
    start = file.read(32)
    for mistake, name in MISTAKES.items():
      if start.startswith(mistake):
        raise ValueError(f"{path} is no weight file, but {name}")
    file.seek(0)
    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
  if start[8:9] == b"{" or path.suffix == ".safetensors":
    tensors, metadata = safetensors_file.read(path), safetensors_file.read_metadata(path)
  else:
    tensors, metadata = torch_file.read(path), {}
  for name in tensors:
    if not name.isprintable() or len(name) > MAX_NAME:
      raise ValueError(
        f"{path} has a tensor called {ascii(name[:50])}, which is no name in weights"
      )
  if finite:
    check_finite(path, tensors)
  return WeightFile(path, sha256, tensors, metadata)


def check_finite(path: pathlib.Path, tensors: Mapping[str, np.ndarray]) -> None:
  """Raises ValueError if a tensor has a number that is infinite or none; the message has the names."""
  counts = {name: tensor.size - int(np.isfinite(tensor).sum()) for name, tensor in tensors.items()}
  bad = [f"{name} ({n} of {tensors[name].size} numbers)" for name, n in counts.items() if n]
  if bad:
    more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
    raise ValueError(
      f"{path}: {', '.join(bad[:5])}{more}: not finite. The run that wrote the file has diverged; use an "
      "earlier checkpoint of it"
    )
