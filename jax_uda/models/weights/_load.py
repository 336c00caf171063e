"""Loads the variables of a network from a weight file, and saves them."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from jax_uda.common.adapter_paths import is_adapter
from jax_uda.common.registry import SettingError
from jax_uda.models.weights import _read as read
from jax_uda.models.weights import names, safetensors_file, torch_names


@dataclasses.dataclass(frozen=True)
class Loaded:
  """A record of what was loaded from which file.

  Attributes:
    path: The file.
    sha256: Hash of the whole file, hexadecimal.
    network: Which network of a training run was loaded, "student" or "teacher".
    parts: Parts of our network that were loaded, e.g. encoder and decoder.
    untouched: Parts that the file does not have and that kept their values.
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
  """Replaces the parts of a network that a weight file holds.

  A part is an entry of `variables["params"]`: encoder, decoder, a head. The file must hold a part
  completely or not at all, and nothing else but what `names.to_reference` leaves out.

  Args:
    variables: The variables of a `Segmentor`, as arrays; parts that the file does not hold keep them.
    path: A file that `read` understands, with tensor names that `names.to_reference` understands.
    network: Which network to load from a file of a whole training run: "student" or "teacher" (its
      moving average).

  Returns:
    A new tree, with float32 NumPy arrays in the loaded parts; and the record of what was loaded.

  Raises:
    SettingError: `network` is unknown, or the file has one network only; its path is `network`.
    ValueError: The file cannot be read or does not fit. The message lists by name which tensors are
      missing, unexpected or of the wrong shape.
  """
  file = read.read(path)
  flat = traverse_util.flatten_dict(dict(variables))
  part_of = lambda path: torch_names.torch_name(path).partition(".")[0]
  try:
    tensors = names.to_reference(file.tensors, network)
    file_parts = {name.partition(".")[0] for name in tensors}
    # An encoder of a file may lack the adapter that it is to get.
    lacks = lambda path: (
      is_adapter("/".join(path[1:])) and torch_names.torch_name(path) not in tensors
    )
    in_file = {
      path: value for path, value in flat.items() if part_of(path) in file_parts and not lacks(path)
    }
    filled = torch_names.from_torch(tensors, traverse_util.unflatten_dict(in_file))
  except SettingError as error:
    raise SettingError(error.path, f"{error.message} The file is {file.path}.") from None
  except ValueError as error:
    raise ValueError(f"{file.path}: {error}") from None
  merged = flat | traverse_util.flatten_dict(filled)
  # The order of a tree that a jitted function returned is alphabetical; the encoder comes first here.
  parts = lambda paths: tuple(
    sorted({path[1] for path in paths}, key=lambda n: (n != "encoder", n))
  )
  loaded_parts, left = parts(in_file), parts(flat.keys() - in_file.keys())
  untouched = tuple(part if part not in loaded_parts else f"{part}'s adapter" for part in left)
  loaded = Loaded(str(file.path), file.sha256, network, loaded_parts, untouched)
  return traverse_util.unflatten_dict(merged), loaded


def load_translation(
  variables: Mapping[str, Any], path: str | pathlib.Path
) -> tuple[dict[str, Any], read.WeightFile]:
  """Loads a network of `models.translation` from a file of CUT's, such as latest_net_G.pth.

  Args:
    variables: The variables of a `Generator`, `PatchDiscriminator` or `PatchMLP`, as arrays or as
      `jax.ShapeDtypeStruct`s.
    path: A file that `read` understands.

  Returns:
    A new tree of float32 NumPy arrays; and the content of the file.

  Raises:
    ValueError: The file cannot be read or does not fit, see `load`.
  """
  file = read.read(path)
  try:
    return torch_names.from_torch(names.of_translation(file.tensors), variables), file
  except ValueError as error:
    raise ValueError(f"{file.path}: {error}") from None


def save(
  variables: Mapping[str, Any], path: str | pathlib.Path, metadata: Mapping[str, str] | None = None
) -> None:
  """Writes variables as `.safetensors` with the reference names and in PyTorch's layout.

  The `load_state_dict` of the reference implementations accepts the file, and so does `load`.

  Args:
    variables: The variables of a `Segmentor`, or some of them under the same paths.
    path: The file to write.
    metadata: Texts to store in the file, by name.
  """
  as_numpy = traverse_util.flatten_dict(dict(variables))
  tensors = torch_names.to_torch(
    traverse_util.unflatten_dict({path: np.asarray(v) for path, v in as_numpy.items()})
  )
  safetensors_file.write(path, tensors, metadata or {})
