"""What cannot work is refused before anything is compiled: a run is gone through with shapes alone."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda.ops import windows
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, experiment

NETWORK = ("model.encoder", "model.decoder", "model.hrda.crop_size")


@contextlib.contextmanager
def _naming(config: config_lib.ConfigDict, *fields: str) -> Iterator[None]:
  """Puts fields of the config and their values before an error that names none."""
  try:
    yield
  except ValueError as error:
    if "config." in str(error):
      raise
    values = config_diff.flatten(config_diff.to_plain(config))
    given = (f"config.{name} = {values[name]!r}" for name in fields if name in values)
    raise ValueError(f"{', '.join(given)}: {error}") from error


def training(exp: experiment.Experiment, batch: Any) -> None:
  """Traces the start of a run and the step in each of its phases, also those that begin late.

  The programs are kept: nothing is traced twice.

  Args:
    exp: The run.
    batch: Of the shapes and shardings that the step will get.

  Raises:
    ValueError: Something does not fit; the message names fields of the config.
  """
  config = exp.config
  with _naming(config, "data.crop_size", *NETWORK, "method.name"):
    state = exp.abstract_state()
    end = config_lib.last_step(config)
    for start in sorted({0, *exp.method.gates}):
      if start < end:
        exp.train_step(start).eval_shape(state, batch)


def evaluation(exp: experiment.Experiment) -> None:
  """Traces the network on what it will be evaluated on: images or windows, at all scales.

  Raises:
    ValueError: The network does not take such sizes; the message names fields of the config.
  """
  config = exp.config
  sizes = {}
  for name, examples in exp.validation.items():
    if not len(examples):
      continue
    whole = examples[0]["image"].shape[:2]
    for scale in config.eval.scales:
      size = tuple(int(side * scale + 0.5) for side in whole)
      if config.eval.window:
        with _naming(config, "eval.window", "eval.stride"):
          y1, y2, x1, x2 = windows.boxes(size, config.eval.window, config.eval.stride)[0]
        size = (y2 - y1, x2 - x1)
      sizes.setdefault(size, f"{name} images of {whole[0]}x{whole[1]}")
  variables = exp.abstract_state().student
  run = lambda variables, image: exp.model.apply(
    variables, image, train=False, use_running_average=True, parts=("decoder",)
  )
  for size, what in sizes.items():
    with _naming(config, "eval.window", "eval.scales", *NETWORK):
      try:
        jax.eval_shape(run, variables, jax.ShapeDtypeStruct((1, *size, 3), jnp.float32))
      except ValueError as error:
        raise ValueError(f"{what} are to be evaluated, but {error}") from error
