"""Dry run: traces a whole run with abstract shapes, so that mistakes surface before compilation."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.data.pipeline.examples import sizes_of
from jax_uda.run.evaluation import describe_sizes
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
  """Traces the network on every size it will be evaluated on: images, windows or tiles, at all scales.

  Says so if there are several sizes, or images that are predicted in tiles.

  Raises:
    SettingError: The network does not take a size; the message names fields of the config.
  """
  settings, variables = exp.settings.evaluation, exp.abstract_state().variables("student")
  for name, examples in exp.evaluated_sets.items():
    inference, sizes = settings.inference_on(name), sizes_of(examples)
    for size in dict.fromkeys(sizes):
      with _naming(exp.settings.fields, "eval.window", "eval.stride"):
        crops = inference.crops(size)
      with _naming(exp.settings.fields, "eval.window", "eval.scales", *NETWORK):
        try:
          for crop in crops:
            exp.learner.predictor(inference).network.canvas(variables, crop, settings.batch_size)
        except SettingError:
          raise
        except ValueError as error:
          text = f"{name} images of {size[0]}x{size[1]} are to be evaluated, but {error}"
          raise ValueError(text) from error
    text = describe_sizes(exp.learner, variables, sizes, inference, settings.batch_size)
    if text:
      say(f"{name}: {len(sizes)} images of {text}")
