"""The one training step: teacher, views, loss and gradient, optimizer.

It does not know which method it runs: a method supplies the random draws, the
views and the objectives (`jax_uda.methods.base.Method`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_uda import ema
from jax_uda.context import Context, Passes, named_key
from jax_uda.methods.base import Method
from jax_uda.models.segmentor import Segmentor
from jax_uda.state import TrainState

Metrics = dict[str, jax.Array]


def student_pass(model: Segmentor, key: jax.Array, parts: Mapping[str, Any]) -> Callable:
  """A pass in training mode of the view's parts; each view has dropout masks of its own."""

  def apply(variables, image, name):
    outputs, updated = model.apply(
      variables,
      image,
      train=True,
      use_running_average=False,
      parts=parts.get(name),
      rngs={"dropout": named_key(key, f"student/{name}")},
      mutable=["batch_stats"],
    )
    return outputs, updated.get("batch_stats")

  return apply


def teacher_pass(model: Segmentor) -> Callable:
  """A pass without dropout whose BatchNorm uses the statistics of the batch (DACS)."""

  def apply(variables, image, name):
    del name  # nothing random in this pass
    outputs, updated = model.apply(
      variables, image, train=False, use_running_average=False, mutable=["batch_stats"]
    )
    return jax.lax.stop_gradient(outputs), updated.get("batch_stats")

  return apply


def make_train_step(
  model: Segmentor,
  method: Method,
  optimizer: optax.GradientTransformation,
  *,
  ema_decay: float,
  phase_start: int = 0,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
  """Returns the pure function `train_step(state, batch) -> (state, metrics)`.

  The teacher moves at the *start* of the step, towards the student before this step's update: step 0
  copies the student. Only parameters are averaged; the teacher's BatchNorm statistics are its own.

  Args:
    model: The segmentor that student and teacher share.
    method: Draws, views and objectives.
    optimizer: Acts on the student's parameters.
    ema_decay: Largest decay of the teacher's moving average (`jax_uda.ema`).
    phase_start: `method.phase_start(step)` of the steps it is for; a method without gates needs none.
  """

  def train_step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(state.key, state.step)
    params = state.student["params"]
    teacher_params = ema.update(state.teacher["params"], params, state.step, ema_decay)
    teacher = Passes(teacher_pass(model), {**state.teacher, "params": teacher_params})
    draws = method.draw(named_key(key, "draws"), batch)
    views = jax.lax.stop_gradient(method.views(draws, batch, teacher))
    reference = lambda image: model.apply(
      state.reference, image, train=False, use_running_average=True, method="encode"
    )

    def loss_fn(params):
      student = Passes(
        student_pass(model, key, method.parts(phase_start)), {**state.student, "params": params}
      )
      ctx = Context(
        views=views,
        step=state.step,
        key=named_key(key, "objectives"),
        student=student,
        teacher=teacher,
        reference=reference if method.uses_reference else None,
        phase_start=phase_start,
      )
      result = method.objective.apply(state.objective, ctx)
      student.variables.pop("params")
      return result.loss, (result, student.variables, teacher.variables)

    grads, (result, student_stats, teacher_variables) = jax.grad(loss_fn, has_aux=True)(params)
    updates, opt_state = optimizer.update(grads, state.opt_state, params)
    metrics = {
      "loss": result.loss,
      **result.metrics,
      **{f"weight/{name}": jnp.mean(view.weight) for name, view in views.items()},
      "grad_norm": optax.global_norm(grads),
    }
    state = state.replace(
      step=state.step + 1,
      student={**student_stats, "params": optax.apply_updates(params, updates)},
      teacher=teacher_variables,
      opt_state=opt_state,
      objective=result.state,
    )
    return state, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)

  return train_step
