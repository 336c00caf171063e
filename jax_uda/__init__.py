"""Contrastive unsupervised domain adaptation for semantic segmentation in JAX.

A method is views of the batch plus objectives over them; one pure training step serves every method.

  import jax_uda as uda

  uda.losses, uda.memory          kernels on arrays, and the states that survive a step
  uda.views, uda.objectives       what a step looks at, and the terms of its loss
  uda.methods, uda.models         published systems, and networks, by name
  uda.data, uda.run               data sets and batches; training, evaluation, reports
  uda.Learner                     a model, a method and an optimizer that learn together
  uda.train, uda.load             a whole run; a finished run, to predict with

Everything is imported when it is first used: `import jax_uda` alone loads no JAX.
"""

from etils import epy as _epy

with _epy.lazy_api_imports(globals()):
  from jax_uda import data, losses, memory, methods, models, objectives, ops, run, views
  from jax_uda.run.load_model import load
  from jax_uda.run.stages import train
  from jax_uda.step import optimizer
  from jax_uda.step.context import Pass, View
  from jax_uda.step.learner import Learner
  from jax_uda.step.method import Method, Task, ViewMaker
  from jax_uda.step.objective import Objective

__version__ = "0.1.0"
__all__ = [
  "Learner",
  "Method",
  "Objective",
  "Pass",
  "Task",
  "View",
  "ViewMaker",
  "data",
  "load",
  "losses",
  "memory",
  "methods",
  "models",
  "objectives",
  "ops",
  "optimizer",
  "run",
  "train",
  "views",
]
