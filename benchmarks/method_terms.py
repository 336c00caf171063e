"""What a method computes beside the passes of its networks, as a program of its own.

Draws, views with their pseudo-labels, and the terms with the gradient by the student's outputs. The
networks' outputs are arguments: arrays of random numbers in the shapes that the method's step has.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.step import train_step
from jax_uda.step.context import Context, Passes
from jax_uda.step.learner import Learner
from jax_uda.step.method import Method, with_unit_images
from jax_uda.step.objective import add_terms
from jax_uda.step.state import TrainState


class Terms(NamedTuple):
  """A compiled program with its arguments; `passes` names those it replaces, as `student mixed`."""

  program: Callable[..., Any]
  arguments: tuple
  passes: list[str]

  def run(self) -> None:
    jax.block_until_ready(self.program(*self.arguments))


def _beside_passes(method: Method, student, teacher, reference) -> Callable[..., Any]:
  """The step without optimizer and teacher update, as a function of the networks' variables.

  Args:
    method: The method; all of its terms have started.
    student: The student, a `Network` of `Passes`.
    teacher: The teacher, a `Network` of `Passes`.
    reference: `(variables, image) -> maps`.
  """
  phase = method.phases[-1]

  def function(variables, constants, states, auxiliary, batch):
    teacher_passes = Passes(teacher, constants["teacher"])
    scene = train_step.set_scene(method, None, None, batch, teacher_passes, jax.random.key(0))

    def loss(variables, auxiliary):
      ctx = Context(
        views=scene.views,
        step=jnp.asarray(phase),
        student=Passes(student, variables),
        teacher=teacher_passes,
        reference=functools.partial(reference, constants["reference"]),
        auxiliary=auxiliary,
        phase=phase,
      )
      result = add_terms(method.terms, states, ctx, scene.draws)
      return result.loss, (result.state, result.metrics)

    return jax.grad(loss, argnums=(0, 1), has_aux=True)(variables, auxiliary)

  return function


def _noted(shapes: dict[str, Any], apply: Callable[..., Any]) -> Callable[..., Any]:
  """`apply`, a `Network`, that notes the shapes of its outputs in `shapes`."""

  def noting(variables, image, name, **inputs):
    outputs, statistics = apply(variables, image, name, **inputs)
    shapes[name] = _shapes(outputs)
    return outputs, statistics

  return noting


def _shapes(arrays: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), arrays)


def _random(shapes: Any) -> Any:
  leaves, tree = jax.tree.flatten(shapes)
  keys = jax.random.split(jax.random.key(0), max(len(leaves), 1))
  draw = lambda key, leaf: jax.random.normal(key, leaf.shape).astype(leaf.dtype)
  return tree.unflatten([draw(key, leaf) for key, leaf in zip(keys, leaves, strict=False)])


def compile_terms(learner: Learner, state: TrainState, batch) -> Terms:
  """The program for one batch, whose pixels come as the auxiliary networks prepare them."""
  model, method, auxiliary = learner.model, learner.method, learner.auxiliary
  params = state.auxiliary and state.auxiliary["params"]
  prepare = auxiliary.prepare if auxiliary else lambda params, batch: batch
  prepared = jax.jit(lambda params, batch: prepare(params, with_unit_images(batch)))(params, batch)
  passes = method.passes(method.phases[-1])
  students, teachers, references = {}, {}, {}

  def noting_reference(variables, image):
    maps = train_step.reference_network(model, variables)(image)
    references["maps"] = _shapes(maps)
    return maps

  networks = _beside_passes(
    method,
    _noted(students, train_step.student_network(model, jax.random.key(0), passes)),
    _noted(teachers, train_step.teacher_network(model, method.teacher_outputs)),
    noting_reference,
  )
  constants = {"teacher": state.teacher, "reference": state.reference}
  jax.eval_shape(networks, state.student, constants, state.objective_state, params, prepared)

  read = lambda variables, image, name, **inputs: (variables[name], None)
  terms = _beside_passes(method, read, read, lambda variables, image: variables["maps"])
  constants = {"teacher": _random(teachers), "reference": _random(references)}
  # A training step donates its state.
  kept = jax.tree.map(jnp.copy, (state.objective_state, params))
  arguments = (_random(students), constants, *kept, prepared)
  names = [f"student {name}" for name in students] + [f"teacher {name}" for name in teachers]
  names += ["reference"] if references else []
  return Terms(jax.jit(terms).lower(*arguments).compile(), arguments, names)
