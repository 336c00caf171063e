"""Translates our variables to the names and the layout of the released PyTorch checkpoints.

Our module names are so close to the reference's that a few rules rewrite one to the other:
`params/encoder/block1_0/mlp/dwconv/kernel` is `backbone.block1.0.mlp.dwconv.dwconv.weight`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flax import traverse_util

LEAVES = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}
# Applied in this order to the dotted path without its collection.
REWRITES = (
  (r"^encoder\.", "backbone."),
  (r"^decoder\.", "decode_head."),
  (r"^heads_cam\.", "aux_heads.0."),  # CONFETI's
  (r"^heads_projection\.(?=conv_proj\.)", "aux_heads.1."),  # CONFETI's
  (r"^heads_projection\.", "auxiliary_head."),  # SePiCo's
  (r"^heads_distance\.", "network_feature_head."),  # VFM-UDA++'s
  (r"^backbone\.map_norm(?=\d)", "backbone.norm"),  # ViT-Adapter's
  (r"^heads_cam_(\d+)\.conv_cam\.", r"auxiliary_head.2.conv_cam.\1.0."),  # CONFETII's
  (r"^heads_projection_(\d+)\.project_(\d+)\.", r"projects.\1.\2."),  # CONFETII's
  (r"^cut_proj_(\d+)_", r"cut_proj.\1_"),  # CONFETII's
  (r"\breins\.factor$", "reins.scale"),
  (r"_(\d+)(?=\.)", r".\1"),  # members of a list
  (r"(\bembed_layers\.\d+)", r"\1.proj"),
  (r"\b(mlp|ffn)\.dwconv\b", r"\1.dwconv.dwconv"),
)
# Rank of a kernel -> order of its axes: convolutions (O, I, kh, kw) to (kh, kw, I, O), linear maps
# (O, I) to (I, O), and back.
FROM_TORCH = {4: (2, 3, 1, 0), 2: (1, 0)}
TO_TORCH = {4: (3, 2, 0, 1), 2: (1, 0)}
COUNTER = "num_batches_tracked"  # of PyTorch's BatchNorm; nothing here uses it


def torch_name(path: Sequence[str]) -> str:
  """Returns the reference's name of the variable at `path` (collection, modules…, leaf)."""
  _, *modules, leaf = path
  name = ".".join([*modules, LEAVES.get(leaf, leaf)])
  for pattern, replacement in REWRITES:
    name = re.sub(pattern, replacement, name)
  return name


def to_torch(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """Returns all variables by reference name, in PyTorch's layout."""
  flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
  return {torch_name(path): laid_out(path, value, TO_TORCH) for path, value in flat.items()}


def from_torch(tensors: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> dict[str, Any]:
  """Fills `variables` with `tensors`, which are named and laid out as in PyTorch.

  Args:
    tensors: Arrays by reference name; BatchNorm's batch counters are ignored.
    variables: Tree of arrays or `jax.ShapeDtypeStruct`s of the structure to fill, e.g. from
      `jax.eval_shape(model.init, …)`.

  Returns:
    A new tree of float32 arrays.

  Raises:
    ValueError: Tensors are missing, unexpected or of the wrong shape; the message lists them.
  """
  flat: dict[Any, Any] = traverse_util.flatten_dict(variables)
  paths = {torch_name(path): path for path in flat}
  assert len(paths) == len(flat), "two variables share one reference name: see REWRITES"
  tensors = {name: t for name, t in tensors.items() if not name.endswith(COUNTER)}
  filled, misshapen = {}, []
  for name in paths.keys() & tensors.keys():
    path = paths[name]
    filled[path] = value = laid_out(path, np.asarray(tensors[name], np.float32), FROM_TORCH)
    if value.shape != flat[path].shape:
      expected = flat[path].shape
      misshapen.append(f"{name} {value.shape} for {expected}")
  problems = {
    "missing": sorted(paths.keys() - tensors.keys()),
    "unexpected": sorted(tensors.keys() - paths.keys()),
    "of the wrong shape (in our layout)": sorted(misshapen),
  }
  if any(problems.values()):
    lines = [f"{what}: {', '.join(names)}" for what, names in problems.items() if names]
    raise ValueError("the weights do not fit the network\n" + "\n".join(lines))
  return traverse_util.unflatten_dict(filled)


def laid_out(
  path: Sequence[str], value: np.ndarray, axes: Mapping[int, Sequence[int]]
) -> np.ndarray:
  """Permutes the axes of kernels by their rank; returns other tensors, of any rank, as they are."""
  value = np.asarray(value)
  permutation = axes.get(value.ndim) if path[-1] == "kernel" else None
  return value if permutation is None else value.transpose(permutation)
