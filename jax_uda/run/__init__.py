"""A run and its parts: settings, training, evaluation, prediction, reports.

Names are imported when they are first used: `import jax_uda.run` alone imports no JAX.
"""

from etils import epy as _epy

with _epy.lazy_api_imports(globals()):
  from jax_uda.run.evaluation import evaluate
  from jax_uda.run.experiment import Experiment, build
  from jax_uda.run.load_model import load
  from jax_uda.run.stages import train
  from jax_uda.run.trained_model import TrainedModel

__all__ = ["Experiment", "TrainedModel", "build", "evaluate", "load", "train"]
