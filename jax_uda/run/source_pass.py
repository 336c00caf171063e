"""The pass over the labelled source that some objectives start from (`Method.surveys`)."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax_uda.common import mesh as mesh_lib
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline import batches
from jax_uda.ops import pixels
from jax_uda.run import experiment
from jax_uda.step.context import View
from jax_uda.step.state import TrainState


def _pad(array: np.ndarray, multiple: int, value: int) -> np.ndarray:
  """[B, ...] -> [B', ...] with B' a multiple, extended by `value`."""
  missing = -len(array) % multiple
  return np.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1)), constant_values=value)


def run(exp: experiment.Experiment, state: TrainState) -> TrainState:
  """`state` with the objectives as they are after one pass of its student over the source.

  The student is in evaluation mode, images are whole and as they were prepared, in batches of
  `config.eval.batch_size`. A method without surveys leaves the state as it is.
  """
  surveys = exp.method.surveys
  if not surveys:
    return state

  @jax.jit
  def add(variables: Any, sums: dict[str, Any], image: jax.Array, label: jax.Array):
    label = label.astype(jnp.int32)
    view = View(pixels.to_unit(image), label, jnp.ones(label.shape, jnp.float32))
    outputs = exp.model.apply(
      variables, view.image, train=False, use_running_average=True, parts=("decoder",)
    )
    return {name: survey.add(sums[name], view, outputs) for name, survey in surveys.items()}

  sums = {name: survey.init() for name, survey in surveys.items()}
  examples, size = exp.domains.source_train, exp.config.eval.batch_size
  bar = tqdm(total=len(examples), desc="survey of the source", unit=" images", mininterval=0.5)
  with bar:
    for batch in batches.evaluation_batches(examples, size):
      # A padded image has no labels: it counts for nothing.
      padded = (_pad(batch["image"], exp.mesh.size, 0), _pad(batch["label"], exp.mesh.size, IGNORE))
      sums = add(state.student, sums, *mesh_lib.put_whole(exp.mesh, padded))
      if mesh_lib.must_wait(exp.mesh):
        jax.block_until_ready(sums)
      bar.update(len(batch["image"]))
  start = {
    name: survey.finish(state.objective[name], sums[name]) for name, survey in surveys.items()
  }
  start = jax.device_put(start, mesh_lib.replicated(exp.mesh))
  return state.replace(objective={**state.objective, **start})
