"""Names in configs: look one up, or say what was meant."""

from collections.abc import Mapping
import difflib
from typing import TypeVar

T = TypeVar("T")


def lookup(options: Mapping[str, T], name: str, field: str) -> T:
  """Returns `options[name]`.

  Raises:
    ValueError: `config.<field>` names nothing in `options`; the nearest name is suggested.
  """
  if name in options:
    return options[name]
  near = difflib.get_close_matches(str(name), options, n=1)
  hint = f" Did you mean {near[0]!r}?" if near else ""
  known = ", ".join(sorted(options))
  raise ValueError(f"config.{field} = {name!r} is unknown.{hint} Known: {known}.")
