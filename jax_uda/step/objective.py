"""Terms of the training loss, `Objective`, and their sum.

A term is a pair `(init, apply)` with its random numbers (`draw`): state goes in, the loss and the next
state come out. A method's loss is the sum of its terms, a dictionary by name.
"""

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from jax_uda.common.registry import SettingError
from jax_uda.step.context import Context, View, named_key
from jax_uda.step.outputs import Outputs

State = TypeVar("State")
Sums = TypeVar("Sums")
Batch = Mapping[str, Mapping[str, jax.Array]]


class Result(NamedTuple, Generic[State]):
  """The result of one evaluation of a term.

  Attributes:
    loss: float32 scalar.
    state: The next state, of the same structure as the one before.
    metrics: Scalars for the log.
  """

  loss: jax.Array
  state: State
  metrics: dict[str, jax.Array]


class SourcePass(NamedTuple, Generic[State, Sums]):
  """What a term gathers from the labelled source before the first step, in one pass over it.

  Attributes:
    init: `() -> sums`.
    add: `(sums, view, outputs) -> sums`, with a batch of source images without augmentation and the
      student's `Outputs` for it, in evaluation mode.
    finish: `(state, sums) -> state`, the term's state at the start.
  """

  init: Callable[[], Sums]
  add: Callable[[Sums, View, Outputs], Sums]
  finish: Callable[[State, Sums], State]


def no_draws(key: jax.Array, batch: Batch) -> None:
  """`draw` of what needs no random numbers."""
  del key, batch


class Objective(NamedTuple, Generic[State]):
  """One term of the training loss, with its explicit state (prototypes, banks; `()` if none).

  Attributes:
    init: `key -> state`.
    apply: `(state, ctx, draws) -> Result`; pure, it reads the context and never writes to it.
    draw: `(key, batch) -> draws`, every random number that `apply` needs, as a pytree.
    phases: Steps at which the term's program changes, as a rule the one at which it starts
      (`Context.started`). The step is compiled anew at each.
    source_pass: What the state starts from, if one pass over the source fills it; or None.
  """

  init: Callable[[jax.Array], State]
  apply: Callable[[State, Context, Any], Result[State]]
  draw: Callable[[jax.Array, Batch], Any] = no_draws
  phases: tuple[int, ...] = ()
  source_pass: SourcePass[State, Any] | None = None


def stateless(
  loss: Callable[[Context], tuple[jax.Array, dict[str, jax.Array]]], *, phases: tuple[int, ...] = ()
) -> Objective[tuple[()]]:
  """A term without state and random numbers, from `ctx -> (loss, metrics)`.

  >>> term = stateless(lambda ctx: (ctx.student("source").logits.mean(), {}))
  >>> term.init(None)
  ()
  """
  return Objective(
    init=lambda key: (),
    apply=lambda state, ctx, draws: Result(*_reordered(loss(ctx), state)),
    phases=phases,
  )


def _reordered(loss_and_metrics, state):
  loss, metrics = loss_and_metrics
  return jnp.asarray(loss, jnp.float32), state, metrics


Terms = Mapping[str, Objective[Any]]


def init_terms(terms: Terms, key: jax.Array) -> dict[str, Any]:
  """The states of all terms, by name."""
  return {name: term.init(named_key(key, name)) for name, term in terms.items()}


def draw_terms(terms: Terms, key: jax.Array, batch: Batch) -> dict[str, Any]:
  """The random numbers of all terms, by name; a term names its keys itself."""
  return {name: term.draw(key, batch) for name, term in terms.items()}


def add_terms(
  terms: Terms, states: Mapping[str, Any], ctx: Context, draws: Mapping[str, Any]
) -> Result[dict[str, Any]]:
  """The sum of the terms, evaluated in their order; states and metrics are theirs, by name.

  Passes run in the order in which terms first ask for them, and so move BatchNorm's statistics in it.
  """
  results = {name: term.apply(states[name], ctx, draws[name]) for name, term in terms.items()}
  metrics = {}
  for name, result in results.items():
    metrics[f"loss/{name}"] = result.loss
    metrics |= {f"{name}/{key}": value for key, value in result.metrics.items()}
  loss = sum((result.loss for result in results.values()), jnp.float32(0))
  return Result(loss, {name: result.state for name, result in results.items()}, metrics)


def split_groups(x: jax.Array, groups: int) -> jax.Array:
  """[B, ...] as [G, B / G, ...].

  Raises:
    SettingError: The batch cannot be split.
  """
  if len(x) % groups:
    raise SettingError(
      "method.groups", f"= {groups} cannot split a batch of {len(x)} images evenly."
    )
  return x.reshape(groups, -1, *x.shape[1:])
