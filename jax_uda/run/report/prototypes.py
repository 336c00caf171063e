"""How similar the prototypes of the classes are, over the training."""

import os
import pathlib
from typing import Any

import jax
import numpy as np

FILE = "prototypes.npz"


def prototypes_of(objective: Any) -> dict[str, np.ndarray]:
  """Prototypes [C,A] by term of a method's objective state; rows of classes never seen are 0.

  Of groups with prototypes of their own, the first; of class statistics, the means.
  """
  found = {}
  for term, state in objective.items() if isinstance(objective, dict) else ():
    table = getattr(state, "prototypes", None)
    if table is None and hasattr(state, "statistics"):
      table = state.statistics.mean
    if table is not None:
      table = np.asarray(jax.device_get(table))
      found[term] = table[0] if table.ndim == 3 else table
  return found


def similarity(prototypes: np.ndarray) -> np.ndarray:
  """[C,A] -> [C,C] cosines, NaN for classes without a prototype."""
  norm = np.linalg.norm(prototypes, axis=-1, keepdims=True)
  unit = np.where(norm > 0, prototypes / np.maximum(norm, 1e-12), np.nan)
  return unit @ unit.T


def add(workdir: pathlib.Path, step: int, objective: Any) -> None:
  """Adds the similarities at `step` to the file; what is there of later steps is dropped."""
  kept = {
    f"{term}@{old}": matrix
    for term, by_step in read(workdir).items()
    for old, matrix in by_step.items()
    if old < step
  }
  now = {f"{term}@{step}": similarity(p) for term, p in prototypes_of(objective).items()}
  if not now:
    return
  temporary = workdir / f"{FILE}.tmp"
  with temporary.open("wb") as file:
    np.savez_compressed(file, **kept, **now)
  os.replace(temporary, workdir / FILE)


def read(workdir: pathlib.Path) -> dict[str, dict[int, np.ndarray]]:
  """The matrices by term and step; empty for a method without prototypes."""
  if not (workdir / FILE).exists():
    return {}
  found: dict[str, dict[int, np.ndarray]] = {}
  with np.load(workdir / FILE) as arrays:
    for name, matrix in arrays.items():
      term, _, step = name.rpartition("@")
      found.setdefault(term, {})[int(step)] = matrix
  return {term: dict(sorted(by_step.items())) for term, by_step in found.items()}
