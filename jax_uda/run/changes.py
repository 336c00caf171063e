"""Changes of a config: those of a stage, merged in, and single fields set by a text."""

import ast
import re
from collections.abc import Callable, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.run.config_dict import ConfigDict

Path = tuple[str, ...]

# Marks a group of changes that replaces a group of the config.
_REPLACE = "_replace"
_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}


def replace(**fields: Any) -> dict[str, Any]:
  """A group of a stage that replaces the recipe's group; without it the two are merged.

  >>> config.stages.adapted = dict(method=replace(name="sepico", start_step=100))
  """
  return {_REPLACE: True, **fields}


def merge(
  config: ConfigDict,
  changed: Mapping[str, Any] | ConfigDict,
  *,
  accepts: Callable[[Path], bool],
  path: Path = (),
) -> None:
  """Sets the fields of nested groups in place.

  Args:
    config: The config to change, unlocked.
    changed: The new fields; values that are groups are merged in turn, unless `replace` made them.
    accepts: Whether the field at a path may be added where it is absent.
    path: Where `config` lies in the whole config.

  Raises:
    SettingError: A field replaces no field of the config, or has another type.
  """
  for name, value in changed.items():
    if name == _REPLACE:
      continue
    here = (*path, name)
    if name not in config and not accepts(here):
      raise SettingError(here, f"replaces no field of the config.{registry.hint(name, config)}")
    if isinstance(value, Mapping | ConfigDict):
      if name not in config or value.get(_REPLACE):
        config[name] = ConfigDict()
      if not isinstance(config[name], ConfigDict):
        raise SettingError(here, f"= {dict(value)} must be one value, not a group of fields.")
      merge(config[name], value, accepts=accepts, path=here)
      continue
    try:
      config[name] = value
    except TypeError:
      raise SettingError(here, f"= {value!r} must be of type {_type_of(config[name])}.") from None


def set_from_text(
  config: ConfigDict, field: str, text: str, *, accepts: Callable[[Path], bool]
) -> None:
  """Sets one field in place, as the command line does.

  A field that exists keeps its type. A new one, in a group that accepts it, is the Python literal
  of the text or else the text itself; groups around it are made. An item of a tuple is named by
  its number: `optimizer.groups[0].learning_rate`.

  Args:
    config: The config to change, unlocked.
    field: The path of the field, with dots.
    text: The value.
    accepts: Whether the field at a path may be added where it is absent.

  Raises:
    SettingError: There is no such field, or the text is not of its type.
  """
  _changed(config, split(field), text, accepts, ())


def split(field: str) -> Path:
  """`a.b[0].c` as ("a", "b", "0", "c")."""
  return tuple(filter(None, re.split(r"[.\[\]]+", field)))


def _changed(value: Any, rest: Path, text: str, accepts: Callable[[Path], bool], path: Path) -> Any:
  """`value`, the group or field at `path`, after its part `rest` was set."""
  if not rest:
    return _read(text, value, path)
  name, *deeper = rest
  here = (*path, name)
  if isinstance(value, tuple | list):
    if not name.isdecimal() or int(name) >= len(value):
      raise SettingError(here, f"is no item: {'.'.join(path)} has items 0 to {len(value) - 1}.")
    item = _changed(value[int(name)], tuple(deeper), text, accepts, here)
    return type(value)((*value[: int(name)], item, *value[int(name) + 1 :]))
  if not isinstance(value, dict | ConfigDict):
    raise SettingError(here, f"is no field: {'.'.join(path)} = {value!r} has none.")
  if name not in value and not accepts(here):
    raise SettingError(here, f"is no field of the config.{registry.hint(name, value)}")
  absent = ConfigDict() if deeper else None
  new = _changed(value.get(name, absent), tuple(deeper), text, accepts, here)
  if name not in value or new is not value[name]:
    value[name] = new
  return value


def _read(text: str, old: Any, path: Path) -> Any:
  """The value of `text`, with the type of the field's old value."""
  try:
    if old is None:
      return _literal(text)
    if isinstance(old, bool):
      return _BOOLEANS[text.lower()]
    if isinstance(old, int | float | str):
      return type(old)(text)
    value = ast.literal_eval(text)
    if isinstance(old, tuple | list):
      return type(old)(value if isinstance(value, tuple | list) else (value,))
    return ConfigDict(dict(value))
  except (KeyError, ValueError, SyntaxError, TypeError):
    kind = "a group, {'name': value}" if isinstance(old, ConfigDict) else f"of type {_type_of(old)}"
    raise SettingError(path, f"= {text!r} must be {kind}.") from None


def _literal(text: str) -> Any:
  if text.lower() in ("true", "false"):
    return _BOOLEANS[text.lower()]
  try:
    return ast.literal_eval(text)
  except (ValueError, SyntaxError):
    return text


def _type_of(value: Any) -> str:
  return type(value).__name__
