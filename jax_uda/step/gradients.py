"""The gradient of a method's loss, at once or term by term.

At once, the activations of all of the student's passes are kept until the backward pass. Terms that share no
pass of the student have gradients of their own, which add up to the same sum; taken one after the other,
only one group's activations are in memory.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.step.context import Context, Passes
from jax_uda.step.objective import Result, Terms, add_terms

Variables = Mapping[str, Any]


class Gradients(NamedTuple):
  """What a step learns from the loss.

  Attributes:
    student: The gradient by the student's parameters.
    auxiliary: The gradient by the parameters of the auxiliary networks; None if there are none.
    result: The loss, the terms' next states, and metrics.
    statistics: The student's variables beside its parameters, as the passes left them.
  """

  student: Any
  auxiliary: Any
  result: Result[dict[str, Any]]
  statistics: dict[str, Any]


class _Recorded(Passes):
  """Passes that remember which views were asked for."""

  def __init__(self, passes: Passes):
    """Runs the passes of `passes`."""
    super().__init__(passes.network, passes.variables)
    self.asked: set[str] = set()

  def __call__(self, name: str, image: jax.Array, **inputs: jax.Array) -> Any:
    """As `Passes`, and notes `name`."""
    self.asked.add(name)
    return super().__call__(name, image, **inputs)


# `(parameters, other variables, parameters of the auxiliary networks, teacher) -> context`.
MakeContext = Callable[[Any, Variables, Any, Passes], Context]


class Loss:
  """A method's loss as a function of the student's parameters and of those of its auxiliary networks."""

  def __init__(
    self,
    terms: Terms,
    states: Mapping[str, Any],
    draws: Mapping[str, Any],
    teacher: Passes,
    make_context: MakeContext,
  ):
    """Takes the terms, their states and random numbers, the teacher, and how a context is made."""
    self._terms, self._states, self._draws = terms, states, draws
    self._teacher, self._make_context = teacher, make_context

  def gradients(self, params: Any, statistics: Variables, auxiliary: Any) -> Gradients:
    """The gradient of all terms at once.

    Args:
      params: The student's parameters.
      statistics: Its other variables.
      auxiliary: Parameters of the auxiliary networks, or None.
    """
    return self._of_terms(self._terms, params, statistics, auxiliary)

  def gradients_by_groups(self, params: Any, statistics: Variables, auxiliary: Any) -> Gradients:
    """As `gradients`, but group by group of terms that share passes; equal up to rounding.

    BatchNorm's statistics move in the same order. The step is traced twice.
    """
    total: Gradients | None = None
    for group in self._groups(params, statistics, auxiliary):
      part = self._of_terms(group, params, statistics, auxiliary)
      total = part if total is None else _added(total, part)
      # Without the barrier the compiler may run the next group's passes before this group's backward pass.
      sums, params, auxiliary = jax.lax.optimization_barrier(
        ((total.student, total.auxiliary), params, auxiliary)
      )
      statistics = part.statistics
      total = total._replace(student=sums[0], auxiliary=sums[1])
    assert total is not None
    return total

  def _of_terms(
    self, terms: Terms, params: Any, statistics: Variables, auxiliary: Any
  ) -> Gradients:
    def loss_of(params: Any, auxiliary: Any) -> tuple[jax.Array, tuple[Any, dict[str, Any]]]:
      context = self._make_context(params, statistics, auxiliary, self._teacher)
      result = add_terms(terms, self._states, context, self._draws)
      # The parameters are the optimizer's; passes leave the rest behind.
      left = {k: v for k, v in context.student_passes.variables.items() if k != "params"}
      return result.loss, (result, left)

    (student, networks), (result, left) = jax.grad(loss_of, argnums=(0, 1), has_aux=True)(
      params, auxiliary
    )
    return Gradients(student, networks, result, left)

  def _groups(self, params: Any, statistics: Variables, auxiliary: Any) -> Iterator[Terms]:
    """Neighbouring terms, cut where no pass of the student is asked for on both sides."""
    asked: dict[str, set[str]] = {}

    def run(params: Any, statistics: Any, auxiliary: Any) -> None:
      teacher = Passes(
        self._teacher.network, self._teacher.variables
      )  # runs here for its shapes alone
      context = self._make_context(params, statistics, auxiliary, teacher)
      context.student_passes = recorded = _Recorded(context.student_passes)
      for name, term in self._terms.items():
        recorded.asked = set()
        term.apply(self._states[name], context, self._draws[name])
        asked[name] = recorded.asked

    jax.eval_shape(run, params, dict(statistics), auxiliary)
    group: dict[str, Any] = {}
    names = list(self._terms)
    for number, name in enumerate(names):
      group[name] = self._terms[name]
      before = set().union(*(asked[other] for other in group))
      after = set().union(*(asked[other] for other in names[number + 1 :]))
      if not before & after:
        yield group
        group = {}


def _added(total: Gradients, part: Gradients) -> Gradients:
  add = lambda a, b: jax.tree.map(jnp.add, a, b)
  return Gradients(
    add(total.student, part.student),
    add(total.auxiliary, part.auxiliary),
    Result(
      total.result.loss + part.result.loss,
      total.result.state | part.result.state,
      total.result.metrics | part.result.metrics,
    ),
    part.statistics,
  )
