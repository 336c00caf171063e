"""Looking a name up in a table, with an error that helps."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from jax_uda.common import registry

T = TypeVar("T")


def lookup(options: Mapping[str, T], name: str, field: str) -> T:
  """`options[name]`; raises a ValueError with the nearest known name and all others.

  Args:
    options: The table.
    name: What the user asked for.
    field: Where they asked for it, in words of their config, e.g. `"method.name"`.
  """
  if name in registry:
    return registry[name]
  near = difflib.get_close_matches(str(name), registry, n=1)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  raise ValueError(
    f"config.{field} = {name!r} is unknown.{hint} Known: {', '.join(sorted(registry))}."
  )


def call(function: Callable, field: str, *args: Any, **settings: Any) -> Any:
  """Calls `function` with a config group as its keyword arguments.

  Raises:
    ValueError: A key of the group `config.<field>` is no argument of the function, or one is missing.
  """
  signature = inspect.signature(function)
  known = signature.parameters
  takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
  for key in () if takes_any else settings.keys() - known.keys():
    near = difflib.get_close_matches(key, known, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"config.{field} has no field {key!r}.{hint} Known: {', '.join(known)}.")
  try:
    signature.bind(*args, **settings)
  except TypeError as error:
    raise ValueError(f"config.{field}: {error}.") from None
  return function(*args, **settings)
