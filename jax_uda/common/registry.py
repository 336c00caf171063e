"""Names and settings that a user chose, and errors about them that help."""

import contextlib
import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class SettingError(ValueError):
  """A setting that cannot be used.

  Low layers name their own argument, `SettingError("size", "= (0, 4) must be positive.")`; callers
  put in front where the user set it (`within`), so that the text a user reads begins with
  `config.data.target.size`, `--size` or, in a notebook, with the argument alone.

  Attributes:
    path: The fields from the outermost to the one at fault, e.g. `("config", "data", "target")`.
    message: What is wrong and what to do; begins with "= value", a verb, or ": a sentence".
  """

  def __init__(self, path: str | tuple[str, ...], message: str = ""):
    """Takes the path as a tuple of fields, or as a string with dots.

    The whole text may stand in `path` alone: libraries make errors anew from their texts.
    """
    self.path = tuple(path.split(".")) if isinstance(path, str) else tuple(path)
    self.message = message
    super().__init__(str(self))

  def __reduce__(self):
    return type(self), (self.path, self.message)

  def __str__(self) -> str:
    if not self.path:
      return self.message.removeprefix(": ")
    separator = "" if self.message.startswith(":") or not self.message else " "
    return f"{'.'.join(self.path)}{separator}{self.message}"


@contextlib.contextmanager
def within(*path: str) -> Iterator[None]:
  """Puts `path` in front of the path of every `SettingError` raised inside."""
  try:
    yield
  except SettingError as error:
    raise SettingError((*path, *error.path), error.message) from error.__cause__


def _path(field: str | tuple[str, ...]) -> str | tuple[str, ...]:
  """The path of a field: a tuple is complete, a string stands below `config`."""
  return field if isinstance(field, tuple) else f"config.{field}"


def lookup(table: Mapping[str, T], name: str, field: str | tuple[str, ...]) -> T:
  """`table[name]`, or an error with the nearest known name and all others.

  Args:
    table: The things one can choose, by name.
    name: The name that the user chose.
    field: The field in which the user chose it, for the error: `("name",)` for an argument of the
      caller, or `"method.name"` for a field of the config.

  Raises:
    SettingError: The table has no such name.
  """
  if name in table:
    return table[name]
  raise SettingError(
    _path(field),
    f"= {name!r} is unknown.{_hint(name, table)} Known: {', '.join(sorted(table))}.",
  )


def imported(name: str, field: str | tuple[str, ...]) -> Any:
  """The object called `"module:name"`: a method, a network or a data set of the user's own.

  Args:
    name: A module that Python can import, a colon, and a name in that module.
    field: The field in which the user chose it, as in `lookup`.

  Raises:
    SettingError: There is no such module, or no such name in it.
  """
  module, _, attribute = name.partition(":")
  try:
    return getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError, ValueError) as error:
    raise SettingError(
      _path(field),
      f"= {name!r} cannot be imported ({error}); it must be 'module:name', and the module's folder in "
      "PYTHONPATH or the current one.",
    ) from None


def call(
  function: Callable[..., T], field: str | tuple[str, ...], *args: Any, **settings: Any
) -> T:
  """Calls `function` with a group of settings as its keyword arguments.

  Raises:
    SettingError: The function has no argument of that name, or one is missing.
  """
  signature = inspect.signature(function)
  known = signature.parameters
  takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
  for key in () if takes_any else settings.keys() - known.keys():
    raise SettingError(
      _path(field), f"has no field {key!r}.{_hint(key, known)} Known: {', '.join(known)}."
    )
  try:
    signature.bind(*args, **settings)
  except TypeError as error:
    raise SettingError(_path(field), f": {error}.") from None
  return function(*args, **settings)


def _hint(name: str, known: Mapping[str, Any]) -> str:
  near = difflib.get_close_matches(str(name), known, n=1)
  return f" Did you mean {near[0]!r}?" if near else ""
