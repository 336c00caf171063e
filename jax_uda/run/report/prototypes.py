"""Similarities of the class prototypes over the training: their file and their picture."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jax_uda.common import state_files
from jax_uda.run.report import drawing

FILE = "prototypes.npz"
SIZE = 2.6  # inches of a matrix
MOST = 5  # matrices in a row

# Cosines [C,C] by term and step; NaN for classes without a prototype.
Similarities = Mapping[str, Mapping[int, np.ndarray]]


def prototypes_of(objective_state: Any) -> dict[str, np.ndarray]:
  """Prototypes [C,A] by term of a method's objective state; rows of classes never seen are 0.

  Terms with class statistics have means as prototypes; of a term with several groups the first counts.
  """
  prototypes = {}
  for term, state in objective_state.items() if isinstance(objective_state, dict) else ():
    table = getattr(state, "prototypes", None)
    if table is None and hasattr(state, "statistics"):
      table = state.statistics.mean
    if table is not None:
      table = np.asarray(jax.device_get(table))
      prototypes[term] = table[0] if table.ndim == 3 else table
  return prototypes


def similarity(prototypes: np.ndarray) -> np.ndarray:
  """[C,A] -> [C,C] cosines, NaN for classes without a prototype."""
  norm = np.linalg.norm(prototypes, axis=-1, keepdims=True)
  unit = np.where(norm > 0, prototypes / np.maximum(norm, 1e-12), np.nan)
  return unit @ unit.T


def add(workdir: pathlib.Path, step: int, objective_state: Any) -> None:
  """Adds the similarities at `step` to the run's file and drops those of later steps."""
  kept: dict[str, Any] = {
    f"{term}@{old}": matrix
    for term, by_step in read(workdir).items()
    for old, matrix in by_step.items()
    if old < step
  }
  prototypes = prototypes_of(objective_state)
  if not prototypes:
    return
  now: dict[str, Any] = {f"{term}@{step}": similarity(p) for term, p in prototypes.items()}
  state_files.write_arrays(workdir / FILE, kept | now)


def read(workdir: pathlib.Path) -> dict[str, dict[int, np.ndarray]]:
  """The matrices by term and step; empty for a method without prototypes."""
  matrices: dict[str, dict[int, np.ndarray]] = {}
  purpose = "the picture of the prototypes begins anew"
  for name, matrix in state_files.read_arrays(workdir / FILE, purpose).items():
    term, _, step = name.rpartition("@")
    matrices.setdefault(term, {})[int(step)] = matrix
  return {term: dict(sorted(by_step.items())) for term, by_step in matrices.items()}


def draw(
  path: pathlib.Path, similarities: Similarities, names: Sequence[str], *, title: str
) -> None:
  """Writes a PNG: one row per term, with matrices of up to `MOST` steps, first and last included.

  Args:
    path: The PNG.
    similarities: Cosines [C,C] by term and step; NaN is shown grey.
    names: Names of the C classes.
    title: Text above.

  Raises:
    ImportError: matplotlib is not installed.
  """
  chosen = {term: _spread(list(by_step), MOST) for term, by_step in similarities.items()}
  columns = max(map(len, chosen.values()))
  size = (SIZE * columns + 1.6, SIZE * len(similarities) + 1.5)
  page = drawing.load("matplotlib.figure").Figure(figsize=size, layout="constrained")
  page.suptitle(title, fontsize=11, weight="bold", x=0.01, ha="left")
  axes = page.subplots(len(similarities), columns, squeeze=False)
  image = None
  for row, (term, by_step) in zip(axes, similarities.items(), strict=True):
    for axis in row:
      axis.set_visible(False)
    for axis, step in zip(row, chosen[term], strict=False):
      axis.set_visible(True)
      axis.set_facecolor("0.8")
      image = axis.imshow(by_step[step], cmap="RdBu_r", vmin=-1, vmax=1)
      axis.set_title(f"{term}, step {step}", fontsize=9)
      axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
      axis.set_yticks(range(len(names)), names if axis is row[0] else [], fontsize=7)
      axis.tick_params(length=0)
  page.colorbar(image, ax=axes, shrink=0.8, aspect=25, label="cosine of the prototypes")
  drawing.save(page, path)


def _spread(steps: Sequence[int], number: int) -> list[int]:
  """Up to `number` of the steps, evenly spread, the first and the last among them."""
  places = np.linspace(0, len(steps) - 1, min(number, len(steps))).round().astype(int)
  return [steps[place] for place in places]
