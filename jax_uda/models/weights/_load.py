"""Variables of a network from a weight file, and back to one."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import flax
import numpy as np

from jax_uda.models.weights import _read as read
from jax_uda.models.weights import names, safetensors_file, torch_names


@dataclasses.dataclass(frozen=True)
class Loaded:
  """What was taken from where, for the record of a run.

  Attributes:
    path: The file.
    sha256: Of the whole file, hexadecimal.
    network: Which network of a training run was taken, "student" or "teacher".
    parts: Parts of our network that were loaded, e.g. encoder and decoder.
    untouched: Parts that the file does not have and that stay as they were.
  """

  path: str
  sha256: str
  network: str
  parts: tuple[str, ...]
  untouched: tuple[str, ...]

  def __str__(self) -> str:
    """One line for the user."""
    rest = f"; random as before: {', '.join(self.untouched)}" if self.untouched else ""
    return f"{', '.join(self.parts)} from {self.path} (sha256 {self.sha256[:12]}…){rest}"


def load(
  variables: Mapping[str, Any], path: str | pathlib.Path, *, network: str = "student"
) -> tuple[dict[str, Any], Loaded]:
  """`variables` with all parts that a weight file has taken from it.

  A part is an entry of `variables["params"]`: encoder, decoder, a head. The file has it completely
  or not at all; and it has nothing else, except what `names.to_reference` leaves out.

  Args:
    variables: Of a `Segmentor`: arrays, which stay where the file has no such part.
    path: A file that `read.read` understands, with names that `names.to_reference` does.
    network: Of a file with a whole training run, "student" or "teacher" (its moving average).

  Returns:
    A new tree, float32 NumPy arrays in the loaded parts; and what was loaded.

  Raises:
    ValueError: the file cannot be read or does not fit; lists by name what is missing, unexpected or
      of the wrong shape.
  """
  file = read.read(path)
  flat = flax.traverse_util.flatten_dict(dict(variables))
  part_of = lambda path: torch_names.torch_name(path).partition(".")[0]
  try:
    tensors = names.to_reference(file.tensors, network)
    there = {name.partition(".")[0] for name in tensors}
    wanted = {path: value for path, value in flat.items() if part_of(path) in there}
    found = torch_names.from_torch(tensors, flax.traverse_util.unflatten_dict(wanted))
  except ValueError as error:
    raise ValueError(f"{file.path}: {error}") from None
  merged = flat | flax.traverse_util.flatten_dict(found)
  # A jitted function's results have their names sorted; the encoder comes first.
  parts = lambda paths: tuple(
    sorted({path[1] for path in paths}, key=lambda n: (n != "encoder", n))
  )
  loaded = Loaded(
    str(file.path), file.sha256, network, parts(wanted), parts(flat.keys() - wanted.keys())
  )
  return flax.traverse_util.unflatten_dict(merged), loaded


def load_translation(
  variables: Mapping[str, Any], path: str | pathlib.Path
) -> tuple[dict[str, Any], read.WeightFile]:
  """All variables of a network of `models.translation` from a file of CUT's, such as latest_net_G.pth.

  Args:
    variables: Of a `Generator`, `PatchDiscriminator` or `PatchMLP`: arrays or their shapes.
    path: A file that `read.read` understands.

  Returns:
    A new tree of float32 NumPy arrays; and the file.

  Raises:
    ValueError: as in `load`.
  """
  file = read.read(path)
  try:
    return torch_names.from_torch(names.of_translation(file.tensors), variables), file
  except ValueError as error:
    raise ValueError(f"{file.path}: {error}") from None


def save(
  variables: Mapping[str, Any], path: str | pathlib.Path, metadata: Mapping[str, str] | None = None
) -> None:
  """Writes variables as `.safetensors` with the reference names and PyTorch's layout.

  The reference implementations' `load_state_dict` takes it, and so does `load`.

  Args:
    variables: Of a `Segmentor`, or a part of them with the same paths.
    path: The file to write.
    metadata: Texts to store with it.
  """
  as_numpy = flax.traverse_util.flatten_dict(dict(variables))
  tensors = torch_names.to_torch(
    flax.traverse_util.unflatten_dict({path: np.asarray(v) for path, v in as_numpy.items()})
  )
  safetensors_file.write(path, tensors, metadata or {})
