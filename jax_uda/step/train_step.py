"""The one training step: teacher, views, loss and gradient, optimizer.

It does not know which method it runs: a method supplies the random draws, the
views and the objectives (`jax_uda.step.method.Method`).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from jax_uda.models.segmentor import Segmentor
from jax_uda.step import teacher as ema
from jax_uda.step.context import Context, Passes, named_key
from jax_uda.step.method import Method, Player, with_unit_images
from jax_uda.step.state import TrainState

RANDOM_STREAMS = ("dropout", "crop", "tokens")
Metrics = dict[str, jax.Array]


def student_pass(model: Segmentor, key: jax.Array, calls: Mapping[str, Any]) -> Callable:
  """A pass in training mode; each view has dropout masks and detail crops of its own."""

  def apply(variables, image, name, **inputs):
    arguments = dict(calls.get(name, {}))
    if arguments.pop("frozen", False):
      variables = jax.lax.stop_gradient(variables)
    outputs, updated = model.apply(
      variables,
      image,
      train=True,
      use_running_average=False,
      rngs={kind: named_key(key, f"{kind}/{name}") for kind in RANDOM_STREAMS},
      mutable=["batch_stats"],
      **arguments,
      **inputs,
    )
    return outputs, updated.get("batch_stats")

  return apply


def teacher_pass(model: Segmentor, parts: Mapping[str, Collection[str]]) -> Callable:
  """A pass without dropout whose BatchNorm uses the statistics of the batch (DACS)."""

  def apply(variables, image, name):
    outputs, updated = model.apply(
      variables,
      image,
      train=False,
      use_running_average=False,
      parts=parts.get(name),
      mutable=["batch_stats"],
    )
    return jax.lax.stop_gradient(outputs), updated.get("batch_stats")

  return apply


def make_train_step(
  model: Segmentor,
  method: Method,
  optimizer: optax.GradientTransformation,
  *,
  teacher_rule: ema.Rule,
  player: Player | None = None,
  phase_start: int = 0,
) -> Callable[[TrainState, Any], tuple[TrainState, Metrics]]:
  """Returns the pure function `train_step(state, batch) -> (state, metrics)`.

  By default the teacher moves at the *start* of the step, towards the student before this step's
  update: step 0 copies the student. Only parameters are averaged; the teacher's BatchNorm statistics
  are its own.

  Args:
    model: The segmentor that student and teacher share.
    method: Draws, views and objectives.
    optimizer: Acts on the student's parameters.
    teacher_rule: How the teacher follows the student.
    player: The method's second player, if it has one.
    phase_start: `method.phase_start(step)` of the steps it is for; a method without gates needs none.
  """

  def train_step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(state.key, state.step)
    batch = with_unit_images(batch)
    follow = lambda teacher, student: ema.follow(teacher, student, state.step, teacher_rule)
    early = not teacher_rule.after_update
    teacher = Passes(
      teacher_pass(model, method.teacher_parts),
      follow(state.teacher, state.student) if early else state.teacher,
    )
    play = state.auxiliary["params"] if player else None
    seen = player.prepare(play, batch) if player else batch
    draws = method.draw(named_key(key, "draws"), batch)
    views = jax.lax.stop_gradient(method.views(draws, seen, teacher))
    reference = lambda image: model.apply(
      state.reference, image, train=False, use_running_average=True, method="encode"
    )

    def loss_fn(params, play):
      student = Passes(
        student_pass(model, key, method.calls(phase_start)), {**state.student, "params": params}
      )
      ctx = Context(
        views=views,
        step=state.step,
        key=named_key(key, "objectives"),
        draws=draws,
        student=student,
        teacher=teacher,
        reference=reference if method.uses_reference else None,
        player=play,
        phase_start=phase_start,
      )
      result = method.objective.apply(state.objective_state, ctx)
      student.variables.pop("params")
      return result.loss, (result, student.variables, teacher.variables)

    grads, (result, student_stats, teacher_variables) = jax.grad(
      loss_fn, argnums=(0, 1), has_aux=True
    )(state.student["params"], play)
    updates, opt_state = optimizer.update(grads[0], state.opt_state, state.student["params"])
    student = {**student_stats, "params": optax.apply_updates(state.student["params"], updates)}
    metrics = {
      "loss": result.loss,
      **result.metrics,
      **{f"weight/{name}": jnp.mean(view.weight) for name, view in views.items()},
      "grad_norm": optax.global_norm(grads[0]),
    }
    played = state.auxiliary
    if player:
      moves = player.draw(named_key(key, "player"), batch)
      played, found = player.update(state.auxiliary, grads[1], moves, batch)
      metrics |= found
    state = state.replace(
      step=state.step + 1,
      student=student,
      teacher=teacher_variables if early else follow(teacher_variables, student),
      opt_state=opt_state,
      objective_state=result.state,
      auxiliary=played,
    )
    return state, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)

  return train_step
