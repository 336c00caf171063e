"""The confusion counts of a run, kept for its report."""

import io
import pathlib
from collections.abc import Mapping

import numpy as np

from jax_uda.common import files

FILE = "confusion.npz"


def write(folder: pathlib.Path, counts: Mapping[str, np.ndarray]) -> None:
  """Keeps counts [C, C] by "set/network" (rows are labels) in a run's folder, in place of earlier ones."""
  stream = io.BytesIO()
  np.savez_compressed(stream, allow_pickle=False, **counts)
  files.write_bytes_atomically(folder / FILE, stream.getvalue())


def read(folder: pathlib.Path) -> dict[str, np.ndarray]:
  """The counts of a run; empty if it has not kept any, or if the file is damaged."""
  try:
    with np.load(folder / FILE, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception:  # of NumPy and zlib, of many types; the report does without
    return {}
