"""Looking a name up in a table, with an error that helps."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def lookup(options: Mapping[str, T], name: str, field: str) -> T:
  """`options[name]`; raises a ValueError with the nearest known name and all others.

  Args:
    options: The table.
    name: What the user asked for.
    field: Where they asked for it, in words of their config, e.g. `"method.name"`.
  """
  if name in options:
    return options[name]
  near = difflib.get_close_matches(str(name), options, n=1)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  raise ValueError(
    f"config.{field} = {name!r} is unknown.{hint} Known: {', '.join(sorted(options))}."
  )
