"""The pass over the labelled source with which some objectives initialise their state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from jax_uda.common import mesh as mesh_lib
from jax_uda.data.label_spaces import IGNORE
from jax_uda.data.pipeline import batching
from jax_uda.data.pipeline.examples import Examples
from jax_uda.ops.pixels import to_unit
from jax_uda.run.evaluation import forward
from jax_uda.step.context import View
from jax_uda.step.learner import Learner
from jax_uda.step.state import TrainState


def _padded(array: np.ndarray, multiple: int, value: int) -> np.ndarray:
  """[B, ...] -> [B', ...], with rows of `value` up to the next multiple."""
  missing = -len(array) % multiple
  return np.pad(array, ((0, missing), *((0, 0),) * (array.ndim - 1)), constant_values=value)


def run(learner: Learner, state: TrainState, source: Examples, batch_size: int) -> TrainState:
  """The state with its objectives initialised by one pass of the student over the source.

  The student is in evaluation mode; images are whole and not augmented.

  Args:
    learner: The model and the method; without passes over the source the state stays as it is.
    state: The state before the first step.
    source: `image` and `label` of the source's training images.
    batch_size: Images that are predicted together.
  """
  terms = learner.method.terms
  passes = {name: term.source_pass for name, term in terms.items() if term.source_pass}
  if not passes:
    return state

  @jax.jit
  def add(variables: Any, sums: dict[str, Any], image: jax.Array, label: jax.Array):
    label = label.astype(jnp.int32)
    view = View(to_unit(image), label, jnp.ones(label.shape, jnp.float32))
    outputs = forward(learner.model, variables, view.image, outputs=("decoder",))
    return {name: one.add(sums[name], view, outputs) for name, one in passes.items()}

  mesh, variables = learner.mesh, state.variables("student")
  sums = {name: one.init() for name, one in passes.items()}
  bar = tqdm(total=len(source), desc="pass over the source", unit=" images", mininterval=0.5)
  canvas = lambda size: learner.canvas(variables, size)
  with bar:
    for batch in batching.evaluation_batches(source, batch_size, canvas):
      # A padded image has no labels: it counts for nothing.
      rows = (_padded(batch["image"], mesh.size, 0), _padded(batch["label"], mesh.size, IGNORE))
      sums = add(variables, sums, *mesh_lib.put_whole(mesh, rows))
      if mesh_lib.must_wait(mesh):
        jax.block_until_ready(sums)
      bar.update(len(batch["image"]))
  initial = {
    name: one.finish(state.objective_state[name], sums[name]) for name, one in passes.items()
  }
  initial = jax.device_put(initial, mesh_lib.replicated(mesh))
  return state.replace(objective_state={**state.objective_state, **initial})
