"""The confusion counts of a run, kept for its report."""

import pathlib
from collections.abc import Mapping

import numpy as np

from jax_uda.common import state_files

FILE = "confusion.npz"


def write(folder: pathlib.Path, counts: Mapping[str, np.ndarray]) -> None:
  """Keeps counts [C, C] by "set/network" (rows are labels) in a run's folder, in place of earlier ones."""
  state_files.write_arrays(folder / FILE, counts)


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """The counts of a run; empty if it has not kept any, or if the file is damaged."""
  return state_files.read_arrays(folder / FILE, "the report has no confusion matrix")
