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
from jax_uda.models.weights import classifier, known, names, safetensors_file, torch_names

ADAPTER = "encoder's adapter"  # in `Loaded.untouched`


@dataclasses.dataclass(frozen=True)
class Loaded:
  """A record of what was loaded from which file.

  Attributes:
    path: The file.
    sha256: Hash of the whole file, hexadecimal.
    network: Which network of a training run was loaded, "student" or "teacher".
    parts: Parts of our network that were loaded, e.g. encoder and decoder.
    untouched: Parts that the file does not have and that kept their values.
    left_out: Names in the file of classifiers, which are for other classes and were not loaded.
    licence: What the file says of its licence, or what its name says; empty if nothing.
  """

  path: str
  sha256: str
  network: str
  parts: tuple[str, ...]
  untouched: tuple[str, ...]
  left_out: tuple[str, ...] = ()
  licence: str = ""

  def with_licence_of(self, encoder: str) -> "Loaded":
    """The record with the licence of the encoder's public weights, where the file says nothing of its own."""
    if self.licence or "encoder" not in self.parts:
      return self
    return dataclasses.replace(self, licence=known.licence_of_encoder(encoder))

  def __str__(self) -> str:
    """One line for the user."""
    rest = f"; random: {', '.join(self.untouched)}" if self.untouched else ""
    if self.left_out:
      more = f" and {len(self.left_out) - 4} more" if len(self.left_out) > 4 else ""
      rest += f"; left out, as it is for other classes: {', '.join(self.left_out[:4])}{more}"
    return f"{', '.join(self.parts)} from {self.path} (sha256 {self.sha256[:12]}…){rest}"


def load(
  variables: Mapping[str, Any], path: str | pathlib.Path, *, network: str = "student"
) -> tuple[dict[str, Any], Loaded]:
  """Replaces the parts of a network that a weight file holds.

  A part is an entry of `variables["params"]`: encoder, decoder, a head. The file must hold a part
  completely or not at all, and nothing else but what `names.translate` leaves out. A classifier for
  another number of classes is left out, too; it keeps its values, and the record names it.

  Args:
    variables: The variables of a `Segmentor`, as arrays; parts that the file does not hold keep them.
    path: A file that `read` understands, with tensor names that `names.translate` understands.
    network: Which network to load from a file of a whole training run: "student" or "teacher" (its
      moving average).

  Returns:
    A new tree, with float32 NumPy arrays in the loaded parts; and the record of what was loaded.

  Raises:
    SettingError: `network` is unknown, or the file has one network only; its path is `network`.
    ValueError: The file cannot be read or does not fit, or a tensor is not finite. The message lists by
      name which tensors are missing, unexpected or of the wrong shape.
  """
  file = read.read(path, finite=False)  # networks that are not asked for may be as they are
  flat: dict[Any, Any] = traverse_util.flatten_dict(dict(variables))
  paths = {torch_names.torch_name(path): path for path in flat}
  try:
    translated = names.translate(file.tensors, network, paths.keys())
    tensors, other_classes = _without_other_classes(translated.tensors, flat, paths)
    file_parts = {_part_of(name) for name in tensors}
    # An encoder of a file may lack the adapter that it is to get.
    lacks = lambda name: is_adapter("/".join(paths[name][1:])) and name not in tensors
    in_file = {
      path: flat[path]
      for name, path in paths.items()
      if _part_of(name) in file_parts and name not in other_classes and not lacks(name)
    }
    filled = torch_names.from_torch(tensors, traverse_util.unflatten_dict(in_file))
  except SettingError as error:
    raise SettingError(error.path, f"{error.message} The file is {file.path}.") from None
  except ValueError as error:
    raise ValueError(f"{file.path}: {error}") from None
  arrays: dict[Any, Any] = traverse_util.flatten_dict(filled)
  read.check_finite(file.path, {torch_names.torch_name(path): a for path, a in arrays.items()})
  # The order of a tree that a jitted function returned is alphabetical; the encoder comes first here.
  parts = lambda paths: sorted({path[1] for path in paths}, key=lambda n: (n != "encoder", n))
  untouched = [part for part in parts(flat) if part not in parts(in_file)]
  if any(is_adapter("/".join(path[1:])) for path in flat.keys() - in_file.keys()):
    untouched += [ADAPTER] if "encoder" not in untouched else []
  loaded = Loaded(
    path=str(file.path),
    sha256=file.sha256,
    network=network,
    parts=tuple(parts(in_file)),
    untouched=tuple(untouched),
    left_out=(*translated.left_out, *sorted(other_classes)),
    licence=file.metadata.get("licence", "") or known.licence_of(file.path),
  )
  return traverse_util.unflatten_dict(flat | arrays), loaded


def _part_of(name: str) -> str:
  """The part of the network to which a reference name belongs."""
  return name.partition(".")[0]


def _without_other_classes(
  tensors: names.Tensors, flat: Mapping[Any, Any], paths: Mapping[str, Any]
) -> tuple[names.Tensors, frozenset[str]]:
  """The tensors without a classifier of another number of classes, and the names of that."""
  in_network = {name: path for name, path in paths.items() if name in tensors}
  # A tensor that the network does not have is laid out as the others of its kind.
  leaf = lambda name: ("kernel",) if name.endswith(".weight") else ("bias",)
  file = {
    name: torch_names.laid_out(
      in_network.get(name, leaf(name)), tensor, torch_names.FROM_TORCH
    ).shape
    for name, tensor in tensors.items()
  }
  network = {name: tuple(flat[path].shape) for name, path in paths.items()}
  other = classifier.of_other_classes(file, network)
  return {name: tensor for name, tensor in tensors.items() if name not in other}, other


def load_translation(
  variables: Mapping[str, Any], path: str | pathlib.Path
) -> tuple[dict[str, Any], read.WeightFile]:
  """Loads a network of `models.translation` from a file of CUT's, such as latest_net_G.pth, or CONFETII's run.

  Args:
    variables: The variables of a `Generator`, `PatchDiscriminator` or `PatchMLP`, or of CONFETII's networks,
      as arrays or as `jax.ShapeDtypeStruct`s.
    path: A file that `read` understands.

  Returns:
    A new tree of float32 NumPy arrays; and the content of the file.

  Raises:
    ValueError: The file cannot be read or does not fit, see `load`.
  """
  file = read.read(path)
  wanted = [torch_names.torch_name(path) for path in traverse_util.flatten_dict(dict(variables))]
  try:
    return torch_names.from_torch(names.of_translation(file.tensors, wanted), variables), file
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
