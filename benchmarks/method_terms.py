"""What a method computes beside the passes of its networks, as a program of its own.

Draws, views with their pseudo-labels, and the objective with the gradient by the student's outputs. The
outputs of all networks are given: arrays of random numbers in the shapes that the method's step has.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.step import train_step
from jax_uda.step.context import Context, Passes, named_key
from jax_uda.step.method import Method, Player, with_unit_images
from jax_uda.step.state import TrainState


class Terms(NamedTuple):
  """A compiled program and what it takes; `passes` are those it was given, as `student mixed`."""

  program: Callable[..., Any]
  arguments: tuple
  passes: list[str]

  def run(self) -> None:
    jax.block_until_ready(self.program(*self.arguments))


def _beside_passes(method: Method, student, teacher, reference) -> Callable[..., Any]:
  """The step without optimizer and teacher update, as a function of the networks' variables.

  Args:
    method: Of which all terms have started.
    student: `apply` of `Passes`; so is `teacher`.
    teacher: See `student`.
    reference: `(variables, image) -> maps`.
  """
  phase_start = max(method.gates, default=0)

  def function(variables, fixed, objective, play, batch):
    key = jax.random.key(0)
    draws = method.draw(named_key(key, "draws"), batch)
    labels = Passes(teacher, fixed["teacher"])
    views = jax.lax.stop_gradient(method.views(draws, batch, labels))

    def loss(variables, play):
      ctx = Context(
        views=views,
        step=jnp.asarray(phase_start),
        key=named_key(key, "objectives"),
        draws=draws,
        student=Passes(student, variables),
        teacher=labels,
        reference=functools.partial(reference, fixed["reference"]),
        player=play,
        phase_start=phase_start,
      )
      result = method.objective.apply(objective, ctx)
      return result.loss, (result.state, result.metrics)

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, play)

  return function


def _noted(found: dict[str, Any], apply: Callable[..., Any]) -> Callable[..., Any]:
  """`apply` of `Passes` that puts the shapes of its outputs into `found`."""

  def noting(variables, image, name, **inputs):
    outputs, statistics = apply(variables, image, name, **inputs)
    found[name] = _shapes(outputs)
    return outputs, statistics

  return noting


def _shapes(arrays: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)


def _random(shapes: Any) -> Any:
  leaves, tree = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(0), max(len(leaves), 1))
  draw = lambda key, leaf: jax.random.normal(key, leaf.shape).astype(leaf.dtype)
  return tree.unflatten([draw(key, leaf) for key, leaf in zip(keys, leaves, strict=False)])


def compile_terms(model, method: Method, player: Player | None, state: TrainState, batch) -> Terms:
  """The program for one method's batch; pixels that a player prepares come prepared."""
  play = state.player["params"] if player else None
  batch = with_unit_images(batch)
  seen = jax.jit(player.prepare)(play, batch) if player else batch
  calls = method.calls(max(method.gates, default=0))
  encode = lambda variables, image: model.apply(
    variables, image, train=False, use_running_average=True, method="encode"
  )
  students, teachers, references = {}, {}, {}

  def noting_reference(variables, image):
    maps = encode(variables, image)
    references["maps"] = _shapes(maps)
    return maps

  networks = _beside_passes(
    method,
    _noted(students, train_step.student_pass(model, jax.random.key(0), calls)),
    _noted(teachers, train_step.teacher_pass(model, method.teacher_parts)),
    noting_reference,
  )
  fixed = {"teacher": state.teacher, "reference": state.reference}
  jax.eval_shape(networks, state.student, fixed, state.objective, play, seen)

  given = lambda variables, image, name, **inputs: (variables[name], None)
  terms = _beside_passes(method, given, given, lambda variables, image: variables["maps"])
  fixed = {"teacher": _random(teachers), "reference": _random(references)}
  kept = jax.tree.map(jnp.copy, (state.objective, play))  # a training step donates its state
  arguments = (_random(students), fixed, *kept, seen)
  passes = [f"student {name}" for name in students] + [f"teacher {name}" for name in teachers]
  passes += ["reference"] if references else []
  return Terms(jax.jit(terms).lower(*arguments).compile(), arguments, passes)
