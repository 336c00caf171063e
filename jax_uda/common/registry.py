"""Names and settings that a user chose, and errors about them that help."""

import contextlib
import dataclasses
import difflib
import importlib
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
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


def _path(field: str | tuple[str, ...]) -> tuple[str, ...]:
  """The path of a field as a tuple."""
  return tuple(field.split(".")) if isinstance(field, str) else field


def lookup(table: Mapping[str, T], name: str, field: str | tuple[str, ...]) -> T:
  """`table[name]`, or an error with the nearest known name and all others.

  Args:
    table: The things one can choose, by name.
    name: The name that the user chose.
    field: The argument that holds the name, for the error: a tuple, or a string with dots.

  Raises:
    SettingError: The table has no such name.
  """
  if name in table:
    return table[name]
  raise SettingError(
    _path(field),
    f"= {name!r} is unknown.{hint(name, table)} Known: {', '.join(sorted(table))}.",
  )


def choose(table: Mapping[str, T], name: str, field: str | tuple[str, ...]) -> T:
  """`lookup`, or for a name with a colon the user's own "module:name" (`imported`)."""
  return imported(name, _path(field)) if ":" in name else lookup(table, name, field)


def call(
  function: Callable[..., T], field: str | tuple[str, ...], *args: Any, **settings: Any
) -> T:
  """Calls `function` with a group of settings as its keyword arguments.

  An argument whose default is a dataclass is a group itself: a mapping replaces fields of the default.

  Raises:
    SettingError: The function has no argument of that name, or one is missing.
  """
  signature = inspect.signature(function)
  known = signature.parameters
  takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values())
  if not takes_any:
    check_names(settings, known, _path(field))
  for name, parameter in known.items():
    default: Any = parameter.default
    if dataclasses.is_dataclass(default) and hasattr(settings.get(name), "items"):
      group = dict(settings[name])
      fields = [entry.name for entry in dataclasses.fields(default)]
      check_names(group, fields, (*_path(field), name))
      with within(*_path(field), name):
        settings[name] = type(default)(**{**_fields_of(default), **group})
  try:
    signature.bind(*args, **settings)
  except TypeError as error:
    raise SettingError(_path(field), f": {error}.") from None
  return function(*args, **settings)


def _fields_of(group: Any) -> dict[str, Any]:
  return {entry.name: getattr(group, entry.name) for entry in dataclasses.fields(group)}


def check_names(
  settings: Mapping[str, Any], known: Collection[str], path: str | tuple[str, ...]
) -> None:
  """Raises SettingError if `settings` has a name that is not among the `known` ones."""
  for name in settings:
    if name not in known:
      raise SettingError(
        path, f"has no field {name!r}.{hint(name, known)} Known: {', '.join(known)}."
      )


def imported(name: str, path: str | tuple[str, ...]) -> Any:
  """The object that a user names as "module:name", from a module of their own.

  Args:
    name: Module and attribute; the module's folder must be in PYTHONPATH or the current one.
    path: The field in which the user gave it, for the error.

  Raises:
    SettingError: There is no such module, or nothing of that name in it.
  """
  module, _, attribute = name.partition(":")
  try:
    return getattr(importlib.import_module(module), attribute)
  except (ImportError, AttributeError, ValueError) as error:
    raise SettingError(
      path,
      f"= {name!r} cannot be imported ({error}); it must be 'module:name', and the module's folder in "
      "PYTHONPATH or the current one.",
    ) from None


def hint(name: str, known: Iterable[str]) -> str:
  """` Did you mean 'encoder'?` if a known name resembles `name`; else an empty text."""
  near = difflib.get_close_matches(str(name), known, n=1)
  return f" Did you mean {near[0]!r}?" if near else ""
