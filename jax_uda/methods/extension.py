"""A method with something added: further draws, views and terms, which know of its views only."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax

from jax_uda import objectives
from jax_uda.step.context import Context, Passes, View, named_key
from jax_uda.step.method import Batch, Method
from jax_uda.step.objective import Objective, Result, Survey


class Draws(NamedTuple):
  """Random numbers of the method that is extended, and those of the extension."""

  base: Any
  own: Any


Views = dict[str, View]


def extend(
  method: Method,
  name: str,
  *,
  terms: Mapping[str, Objective],
  draw: Callable[[jax.Array, Batch], Any] = lambda key, batch: None,
  views: Callable[[Any, Batch, Passes, Views], Views] = lambda draws, batch, teacher, views: {},
  calls: Mapping[str, Mapping[str, Any]] | None = None,
  heads: Mapping[str, Any] | None = None,
  gates: tuple[int, ...] = (),
  start_steps: Mapping[str, int] | None = None,
  surveys: Mapping[str, Survey] | None = None,
) -> Method:
  """`method` with further terms behind its own.

  Args:
    method: Any method; its objective is a chain.
    name: Of the extension, for its random numbers.
    terms: By name; they see `Context.draws` of the extension.
    draw: As `Method.draw`.
    views: `(draws, batch, teacher, views of the method) -> further views`.
    calls: As `Method.calls`, of the further views.
    heads: As the field of `Method`; so are the others.
    gates: See there.
    start_steps: See there.
    surveys: See there.

  Raises:
    ValueError: A term or a head has the name of one that `method` has.
  """
  heads = dict(heads or {})
  for taken in heads.keys() & method.heads.keys():
    raise ValueError(f"config.method: {name} brings a head {taken!r}, and there is one already.")
  base, own = method.objective, objectives.chain(**terms)

  def draw_both(key, batch) -> Draws:
    return Draws(method.draw(key, batch), draw(named_key(key, name), batch))

  def all_views(draws: Draws, batch: Batch, teacher: Passes) -> Views:
    found = method.views(draws.base, batch, teacher)
    return found | views(draws.own, batch, teacher, found)

  def init(key: jax.Array) -> dict[str, Any]:
    first, second = base.init(key), own.init(key)
    for taken in first.keys() & second.keys():
      raise ValueError(f"config.method: {name} brings a term {taken!r}, and there is one already.")
    return first | second

  def apply(state: dict[str, Any], ctx: Context) -> Result:
    parts = ({k: v for k, v in state.items() if k not in terms}, {k: state[k] for k in terms})
    first = base.apply(parts[0], ctx.with_draws(ctx.draws.base))
    second = own.apply(parts[1], ctx.with_draws(ctx.draws.own))
    return Result(
      first.loss + second.loss, first.state | second.state, first.metrics | second.metrics
    )

  return method._replace(
    draw=draw_both,
    views=all_views,
    objective=Objective(init, apply),
    heads={**method.heads, **heads},
    calls=lambda phase_start: {**method.calls(phase_start), **(calls or {})},
    # New terms may ask for new heads on any view, and those for the decoder.
    teacher_parts={} if heads else method.teacher_parts,
    gates=tuple(sorted({*method.gates, *gates})),
    start_steps={**method.start_steps, **(start_steps or {})},
    surveys={**method.surveys, **(surveys or {})},
  )


def split_settings(
  settings: Mapping[str, Any], *functions: Callable
) -> tuple[dict[str, Any], dict[str, Any]]:
  """The settings that are arguments of one of the functions, and the others."""
  known = {name for function in functions for name in inspect.signature(function).parameters}
  base = {name: value for name, value in settings.items() if name in known}
  return base, {name: value for name, value in settings.items() if name not in known}
