"""A method with a component added: further views, terms and heads by name."""

from collections.abc import Callable, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.step.context import Pass
from jax_uda.step.method import Method, Task, ViewMaker
from jax_uda.step.objective import Objective


def extend(
  method: Method,
  name: str,
  *,
  terms: Mapping[str, Objective[Any]],
  views: ViewMaker | None = None,
  passes: Mapping[str, Pass] | None = None,
  heads: Mapping[str, Any] | None = None,
  start_steps: Mapping[str, int | None] | None = None,
) -> Method:
  """`method` with further terms behind its own.

  Args:
    method: Any method.
    name: Name of the component.
    terms: The component's terms of the loss, by name.
    views: Makes the component's views; it gets those of `method`.
    passes: Options of the student's passes of the component's views.
    heads: Heads that the terms need, as in `Method.heads`.
    start_steps: First steps at which parameters are trained, as in `Method.start_steps`.

  Raises:
    SettingError: `method` has a term, a head or views of that name already.
  """
  heads, passes = dict(heads or {}), dict(passes or {})
  makers = {} if views is None else {name: views}
  for kind, new, old in (
    ("term", terms, method.terms),
    ("head", heads, method.heads),
    ("component", makers, method.views),
  ):
    for repeated in new.keys() & old.keys():
      raise SettingError((), f": {name} brings a {kind} {repeated!r}, and there is one already.")
  return method._replace(
    views={**method.views, **makers},
    terms={**method.terms, **terms},
    heads={**method.heads, **heads},
    passes=lambda phase: {**method.passes(phase), **passes},
    # New terms may ask the teacher for a new head on any view, and a head may need the decoder.
    teacher_outputs={} if heads else method.teacher_outputs,
    start_steps={**method.start_steps, **(start_steps or {})},
  )


def add(
  component: Callable[..., Method], field: str, task: Task, method: Method, **settings: Any
) -> Method:
  """`component(task, method, **settings)`; its errors name their setting below `field`.

  Args:
    component: A function from a method to a method, such as `add_masked`.
    field: The field that holds the component's settings, e.g. "method.also.masked".
    task: What the method must know of the data.
    method: The method so far.
    **settings: Keyword arguments of the component.

  Raises:
    SettingError: A setting is unknown or does not fit the method.
  """
  with registry.within(*field.split(".")):
    return registry.call(component, (), task, method, **settings)
