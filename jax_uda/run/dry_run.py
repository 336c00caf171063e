"""Dry run: traces a whole run with abstract shapes, so that mistakes surface before compilation."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.ops import windows
from jax_uda.run.evaluation import forward
from jax_uda.run.experiment import Experiment
from jax_uda.step import optimizer

NETWORK = ("model.encoder", "model.decoder", "model.hrda.crop_size")


@contextlib.contextmanager
def _naming(values: Mapping[str, Any], *fields: str) -> Iterator[None]:
  """Names fields of the config, with their `values`, in an error that names no setting itself."""
  try:
    with registry.within("config"):
      yield
  except SettingError:
    raise
  except ValueError as error:
    (first, value), *others = [(name, values[name]) for name in fields if name in values]
    text = "".join(f", config.{name} = {other!r}" for name, other in others)
    raise SettingError(f"config.{first}", f"= {value!r}{text}: {error}") from error


def training(exp: Experiment, batch: Any) -> None:
  """Traces the start of a run and its step in each phase, late ones included.

  The programs are kept: nothing is traced twice.

  Args:
    exp: The run.
    batch: A batch of the shapes and shardings that the step will get.

  Raises:
    SettingError: Something does not fit; the message names fields of the config.
  """
  learner = exp.learner
  with _naming(exp.settings.fields, "data.crop_size", *NETWORK, "method.name"):
    state = exp.abstract_state()
    with registry.within("optimizer"):
      optimizer.check_groups(state.variables("student")["params"], exp.parameter_groups)
    for phase in learner.method.phases:
      if phase < exp.settings.end_step:
        learner.step_of(phase).eval_shape(state, batch)


def evaluation(exp: Experiment) -> None:
  """Traces the network on everything it will be evaluated on: images or windows, at all scales.

  Raises:
    SettingError: The network does not take such sizes; the message names fields of the config.
  """
  inference = exp.settings.evaluation.inference
  descriptions = {}  # of the images, by the size that the network gets
  for name, examples in exp.validation_sets.items():
    if not len(examples):
      continue
    whole = examples[0]["image"].shape[:2]
    for scale in inference.scales:
      size = (int(whole[0] * scale + 0.5), int(whole[1] * scale + 0.5))
      if inference.window and inference.stride:
        with _naming(exp.settings.fields, "eval.window", "eval.stride"):
          y1, y2, x1, x2 = windows.boxes(size, inference.window, inference.stride)[0]
        size = (y2 - y1, x2 - x1)
      descriptions.setdefault(size, f"{name} images of {whole[0]}x{whole[1]}")
  variables = exp.abstract_state().variables("student")
  run = lambda variables, image: forward(exp.learner.model, variables, image, outputs=("decoder",))
  for size, description in descriptions.items():
    with _naming(exp.settings.fields, "eval.window", "eval.scales", *NETWORK):
      try:
        jax.eval_shape(run, variables, jax.ShapeDtypeStruct((1, *size, 3), jnp.float32))
      except SettingError:
        raise
      except ValueError as error:
        raise ValueError(f"{description} are to be evaluated, but {error}") from error
