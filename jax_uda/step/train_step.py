"""The one training step: teacher, views, loss and gradient, optimizer.

It does not know which method it runs: a method supplies the views and the terms (`Method`).
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jax_uda.step import gradients
from jax_uda.step import teacher as teacher_lib
from jax_uda.step.context import AUXILIARY_KEY, Context, Forward, Pass, Passes, View, named_key
from jax_uda.step.method import Auxiliary, Batch, Method, with_unit_images
from jax_uda.step.objective import draw_terms
from jax_uda.step.outputs import Network
from jax_uda.step.shared import FOUNDATION, sharing
from jax_uda.step.state import TrainState

RANDOM_STREAMS = ("dropout", "crop", "tokens", "positions")
Metrics = dict[str, jax.Array]


def student_network(model: Network, key: jax.Array, passes: Mapping[str, Pass]) -> Forward:
  """The student in training mode; each view has dropout masks and detail crops of its own."""

  def apply(variables, image, name, **inputs):
    options = passes.get(name, Pass())
    if options.frozen:
      variables = jax.lax.stop_gradient(variables)
    outputs, updated = model.apply(
      variables,
      image,
      train=True,
      use_running_average=False,
      outputs=options.outputs,
      rngs={kind: named_key(key, f"{kind}/{name}") for kind in RANDOM_STREAMS},
      mutable=["batch_stats"],
      **options.inputs,
      **inputs,
    )
    return outputs, updated.get("batch_stats")

  return apply


def teacher_network(model: Network, outputs: Mapping[str, Collection[str]]) -> Forward:
  """The teacher without dropout; its BatchNorm uses the statistics of the batch (DACS)."""

  def apply(variables, image, name):
    result, updated = model.apply(
      variables,
      image,
      train=False,
      use_running_average=False,
      outputs=outputs.get(name),
      mutable=["batch_stats"],
    )
    return result, updated.get("batch_stats")  # views and `Context.teacher` stop the gradient

  return apply


def reference_network(
  model: Network, variables: Any
) -> Callable[[jax.Array], tuple[jax.Array, ...]]:
  """The encoder of the frozen initial network, in evaluation mode."""
  return lambda image: model.apply(
    variables, image, train=False, use_running_average=True, method="encode"
  )


def foundation_network(
  foundation: nn.Module | None, reference: Mapping[str, Any] | None
) -> Callable[[jax.Array], jax.Array] | None:
  """The foundation model with its variables in `TrainState.reference`; None without one."""
  if foundation is None or reference is None:
    return None
  return lambda image: foundation.apply(reference[FOUNDATION], image)  # type: ignore[return-value]


class Scene(NamedTuple):
  """What the losses of one step look at, before the student's first pass.

  Attributes:
    batch: The batch with the pixels that the auxiliary networks prepared.
    views: By name.
    draws: Random numbers of the terms, by name.
  """

  batch: Batch
  views: dict[str, View]
  draws: dict[str, Any]


def set_scene(
  method: Method,
  auxiliary: Auxiliary | None,
  params: Any,
  batch: Batch,
  teacher: Passes,
  key: jax.Array,
) -> Scene:
  """Draws the random numbers of a step and makes its views.

  Args:
    method: Supplies makers of views and terms.
    auxiliary: The method's auxiliary networks, or None.
    params: Parameters of the auxiliary networks, or None.
    batch: The batch with images in [0, 1] (`with_unit_images`).
    teacher: Labels the target.
    key: The key of this step.
  """
  prepared = auxiliary.prepare(params, batch) if auxiliary else batch
  key = named_key(key, "draws")
  views = method.make_views(method.draw(key, batch), prepared, teacher)
  return Scene(prepared, views, draw_terms(method.terms, key, batch))


def _mean_weights(scene: Scene) -> Metrics:
  """The mean weight of each view's pixels, for the log."""
  return {f"weight/{name}": jnp.mean(view.weight) for name, view in scene.views.items()}


def make_train_step(
  model: Network,
  method: Method,
  optimizer: optax.GradientTransformation,
  *,
  teacher_rule: teacher_lib.Rule,
  auxiliary: Auxiliary | None = None,
  foundation: nn.Module | None = None,
  phase: int = 0,
  by_groups: bool = False,
) -> Callable[[TrainState, Batch], tuple[TrainState, Metrics]]:
  """Returns the pure function `train_step(state, batch) -> (state, metrics)`.

  By default the teacher moves at the *start* of the step, towards the student before this step's update:
  step 0 copies the student.

  Args:
    model: The segmentor that student and teacher share, with the method's heads.
    method: Views and terms.
    optimizer: Acts on the student's parameters.
    teacher_rule: How the teacher follows the student.
    auxiliary: The method's auxiliary networks, if it has any.
    foundation: What `method.foundation` builds, if it has one.
    phase: `method.phase(step)` of the steps that this function is for.
    by_groups: Whether the gradient is taken group by group of terms, in less memory; see `gradients`.
  """
  follow = lambda teacher, student, step: teacher_lib.follow(teacher, student, step, teacher_rule)
  teacher_first = not teacher_rule.after_update

  def train_step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    key, batch = jax.random.fold_in(state.key, state.step), with_unit_images(batch)
    network = sharing(model, state.reference)
    moved = follow(state.teacher, state.student, state.step) if teacher_first else state.teacher
    teacher = Passes(teacher_network(network, method.teacher_outputs), moved)
    params = state.student["params"]
    auxiliary_params = state.auxiliary and state.auxiliary["params"]
    scene = set_scene(method, auxiliary, auxiliary_params, batch, teacher, key)
    reference = reference_network(model, state.reference) if method.uses_reference else None

    def context_of(params, statistics, auxiliary_params, teacher):
      return Context(
        views=scene.views,
        step=state.step,
        student=Passes(
          student_network(network, key, method.passes(phase)), {**statistics, "params": params}
        ),
        teacher=teacher,
        reference=reference,
        foundation=foundation_network(foundation, state.reference),
        auxiliary=auxiliary_params,
        phase=phase,
      )

    loss = gradients.Loss(method.terms, state.objective_state, scene.draws, teacher, context_of)
    take = loss.gradients_by_groups if by_groups else loss.gradients
    statistics = {name: tree for name, tree in state.student.items() if name != "params"}
    student_grads, auxiliary_grads, result, statistics = take(params, statistics, auxiliary_params)
    teacher_variables = teacher.variables
    updates, opt_state = optimizer.update(student_grads, state.opt_state, params)
    student = {**statistics, "params": optax.apply_updates(params, updates)}
    if not teacher_first:
      teacher_variables = follow(teacher_variables, student, state.step)
    metrics = {"loss": result.loss, **result.metrics, **_mean_weights(scene)}
    metrics["grad_norm"] = optax.global_norm(student_grads)
    auxiliary_state = state.auxiliary
    if auxiliary and state.auxiliary:
      draws = auxiliary.draw(named_key(key, AUXILIARY_KEY), batch)
      auxiliary_state, more = auxiliary.update(state.auxiliary, auxiliary_grads, draws, batch)
      metrics |= more
    state = state.replace(
      step=state.step + 1,
      student=student,
      teacher=teacher_variables,
      opt_state=opt_state,
      objective_state=result.state,
      auxiliary=auxiliary_state,
    )
    return state, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), metrics)

  return train_step
