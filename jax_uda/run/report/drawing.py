"""Loads matplotlib, an optional dependency, when something is drawn.

Figures come from `matplotlib.figure.Figure`: pyplot would switch the backend of a notebook.
"""

import importlib
import pathlib
import types
from typing import Any

from jax_uda.common import files

DPI = 130


def save(figure: Any, path: pathlib.Path) -> None:
  """Writes a figure of matplotlib as PNG, complete or not at all; see `files`."""
  with files.replacing(path) as temporary:
    figure.savefig(temporary, format="png", dpi=DPI)


def load(module: str) -> types.ModuleType:
  """Imports `matplotlib` or one of its modules, e.g. `matplotlib.figure`.

  Raises:
    ImportError: matplotlib is not installed.
  """
  try:
    importlib.import_module("matplotlib")
    return importlib.import_module(module)
  except ImportError:
    raise ImportError('pictures need matplotlib: pip install "jax-uda[viz]"') from None
