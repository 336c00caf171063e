"""Terms of the training loss as `(init, apply)` pairs, and `chain`, which adds them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.step.context import Context, View, named_key
from jax_uda.step.outputs import Outputs


class Result(NamedTuple):
  """What one evaluation of an objective gives.

  Attributes:
    loss: float32 scalar.
    state: The objective's next state, of the same structure as the one it was given.
    metrics: Scalars for the log.
  """

  loss: jax.Array
  state: Any
  metrics: dict[str, jax.Array]


class Objective(NamedTuple):
  """One term of the training loss, with its explicit state (prototypes, banks; `()` if none)."""

  init: Callable[[jax.Array], Any]
  apply: Callable[[Any, Context], Result]


class Survey(NamedTuple):
  """What an objective gathers from the labelled source before the first step, in one pass.

  Attributes:
    init: `() -> sums`.
    add: `(sums, view, outputs) -> sums`, with a batch of source images without augmentation and the
      student's `Outputs` for it, in evaluation mode.
    finish: `(state, sums) -> state`, the objective's state at the start.
  """

  init: Callable[[], Any]
  add: Callable[[Any, View, Outputs], Any]
  finish: Callable[[Any, Any], Any]


def chain(**terms: Objective) -> Objective:
  """The sum of named terms, evaluated in the order given; state and metrics are theirs, by name."""

  def init(key: jax.Array) -> dict[str, Any]:
    return {name: term.init(named_key(key, name)) for name, term in terms.items()}

  def apply(state: dict[str, Any], ctx: Context) -> Result:
    results = {name: term.apply(state[name], ctx) for name, term in terms.items()}
    metrics = {}
    for name, result in results.items():
      metrics[f"loss/{name}"] = result.loss
      metrics |= {f"{name}/{key}": value for key, value in result.metrics.items()}
    loss = sum((result.loss for result in results.values()), jnp.float32(0))
    return Result(loss, {name: result.state for name, result in results.items()}, metrics)

  return Objective(init, apply)


def split_groups(x: jax.Array, groups: int) -> jax.Array:
  """[B, ...] as [G, B / G, ...].

  Raises:
    ValueError: The batch cannot be split.
  """
  if len(x) % groups:
    raise ValueError(
      f"config.batch_size = {len(x)} cannot be split into config.method.groups = {groups}."
    )
  return x.reshape(groups, -1, *x.shape[1:])
