"""Loads matplotlib, an optional dependency, when something is drawn.

Figures come from `matplotlib.figure.Figure`: pyplot would switch the backend of a notebook.
"""

import importlib
import types

DPI = 130


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
