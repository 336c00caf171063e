"""A run and its parts: settings, training, evaluation, prediction, reports.

The names below are loaded when they are asked for: `import jax_uda.run` alone imports no JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from jax_uda.run.evaluation import evaluate as evaluate
  from jax_uda.run.experiment import Experiment as Experiment
  from jax_uda.run.experiment import build as build
  from jax_uda.run.trained_model import TrainedModel as TrainedModel
  from jax_uda.run.trained_model import load as load
  from jax_uda.run.training import train as train

# Name -> its module.
_PUBLIC = {
  "Experiment": "experiment",
  "TrainedModel": "trained_model",
  "build": "experiment",
  "evaluate": "evaluation",
  "load": "trained_model",
  "train": "training",
}

__all__ = sorted(_PUBLIC)


def __getattr__(name: str) -> Any:
  if name not in _PUBLIC:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
  return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
  return sorted({*globals(), *_PUBLIC})
