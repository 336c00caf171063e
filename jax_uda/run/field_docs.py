"""Every field of a config with its type, its default and its meaning, from the code that takes it.

Fields that all runs have are described by the comments of `run/config.py`. Groups that become the keyword
arguments of a function are described by its docstring and its signature.
"""

import ast
import dataclasses
import functools
import inspect
import io
import re
import tokenize
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from jax_uda import methods
from jax_uda.data.datasets import catalog, folder_settings
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.models import catalog as model_catalog
from jax_uda.models.hrda import network as hrda
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, saved_config
from jax_uda.step import optimizer, teacher

# Function of `run/config.py` -> where the fields that it sets lie.
GROUPS = {
  "default": "",
  "_pseudo_label_defaults": "pseudo_label.",
  "_data_defaults": "data.",
  "_evaluation_defaults": "eval.",
}
# Arguments that do not come from the config.
INTERNAL = {
  *(
    "task",
    "method",
    "data_dir",
    "role",
    "parent",
    "name",
    "num_classes",
    "dtype",
    "heads",
    "self",
  ),
  *("schedule", "start_steps", "num_steps", "base", "image_mean", "image_std", "segmentor"),
}


class Field(NamedTuple):
  """One field of a config.

  Attributes:
    path: Its path with dots, below `config`.
    owner: What the field belongs to, where only some choices have it: "sepico", "mit_b5"; else empty.
    kind: Its type.
    default: Its default value as text; empty if it must be set.
    meaning: What it does.
  """

  path: str
  owner: str
  kind: str
  default: str
  meaning: str


def comments_of(source: str) -> dict[str, str]:
  """The meanings of the fields that a module sets, `config.NAME = value`, from its comments.

  A comment stands above a field or behind it. A field without one has that of the field directly above.

  Args:
    source: The text of the module.
  """
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  comments = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
  lines, meanings = source.splitlines(), {}
  for function in ast.parse(source).body:
    if not isinstance(function, ast.FunctionDef) or function.name not in GROUPS:
      continue
    last_line, last = 0, ""
    for statement in function.body:
      if not isinstance(statement, ast.Assign):
        continue
      target = ast.unparse(statement.targets[0])
      first, end = statement.lineno, statement.end_lineno or statement.lineno
      above = first - 1
      while lines[above - 1].strip().startswith("#"):
        above -= 1
      numbers = (*range(above + 1, first), *range(first, end + 1))
      text = " ".join(comments[number] for number in numbers if number in comments)
      if not text and last_line == first - 1:
        text = last
      last_line, last = end, text
      if "." in target and text:
        meanings[GROUPS[function.name] + target.partition(".")[2]] = _sentence(text)
  return meanings


def arguments_of(docstring: str) -> dict[str, str]:
  """The entries of `Args:` or `Attributes:` of a docstring, by name."""
  entries: dict[str, str] = {}
  lines = inspect.cleandoc(docstring or "").splitlines()
  is_inside, name = False, ""
  for line in lines:
    if re.fullmatch(r"(Args|Attributes):", line):
      is_inside = True
    elif is_inside and line and not line.startswith(" "):
      is_inside = False
    elif is_inside and (match := re.match(r"  (\*{0,2}\w+): ?(.*)", line)):
      name, entries[match[1].lstrip("*")] = match[1].lstrip("*"), match[2]
    elif is_inside and name and line.strip():
      entries[name] += f" {line.strip()}"
  return {name: _sentence(text) for name, text in entries.items()}


def _sentence(text: str) -> str:
  text = " ".join(text.split())
  return f"{text[:1].upper()}{text[1:]}" if text[:1].isalpha() else text


def plain_function(function: Any) -> Any:
  """The function or class behind a partial or a callable object."""
  while isinstance(function, functools.partial):
    function = function.func
  if inspect.isclass(function) or inspect.isfunction(function):
    return function
  return type(function).__call__


def of_function(prefix: str, function: Callable[..., Any], owner: str = "") -> Iterator[Field]:
  """The fields of a group that becomes the keyword arguments of a function."""
  meanings = _documented(plain_function(function))
  for name, parameter in inspect.signature(function).parameters.items():
    if name in INTERNAL:
      continue
    if parameter.kind is parameter.VAR_KEYWORD:
      yield Field(f"{prefix}.…", owner, "", "", meanings.get(name, ""))
      continue
    default = parameter.default
    kind = "" if parameter.annotation is parameter.empty else _kind(parameter.annotation)
    text = "" if default is parameter.empty else _shown(default)
    yield Field(f"{prefix}.{name}", owner, kind, text, meanings.get(name, ""))
    if dataclasses.is_dataclass(default) and not isinstance(default, type):
      inner = _documented(type(default))
      for entry in dataclasses.fields(default):
        value = _shown(getattr(default, entry.name))
        path, kind = f"{prefix}.{name}.{entry.name}", _kind(entry.type)
        yield Field(path, owner, kind, value, inner.get(entry.name, ""))


def _documented(function: Any) -> dict[str, str]:
  """The meanings of the arguments of a function, or of the attributes of a class and of its bases."""
  classes = inspect.getmro(function) if inspect.isclass(function) else (function,)
  meanings: dict[str, str] = {}
  for part in reversed(classes):
    if part.__module__.startswith("jax_uda."):
      meanings |= arguments_of(part.__doc__ or "")
  return meanings


def _kind(annotation: Any) -> str:
  """A type for the eye: without modules."""
  text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
  return re.sub(r"\b(?:[a-zA-Z_]\w*\.)+", "", text)


def _shown(value: Any) -> str:
  """A default value for the eye."""
  if dataclasses.is_dataclass(value):
    return "the fields below"
  if isinstance(value, Mapping):
    return repr(dict(value))
  text = repr(value)
  return value.__name__ if callable(value) and hasattr(value, "__name__") else text


def shared_fields() -> Iterator[Field]:
  """The fields that every config has, apart from groups that become keyword arguments."""
  meanings = comments_of(inspect.getsource(config_lib))
  plain = config_diff.to_plain(config_lib.default())
  for path, value in config_diff.flatten(plain).items():
    parts = tuple(path.split("."))
    if any(parts[: len(group)] == group for group in config_lib.KEYWORD_GROUPS):
      continue
    name = "group" if isinstance(value, dict) else type(value).__name__.replace("list", "tuple")
    shown = repr(saved_config.with_tuples(value))
    yield Field(path, "", name, shown, meanings.get(path) or meanings.get(parts[0], ""))


def _defaulted(fields: Iterator[Field]) -> Iterator[Field]:
  """Fields with the defaults of configs instead of those of functions."""
  defaults = config_diff.flatten(config_diff.to_plain(config_lib.default()))
  for field in fields:
    is_ours = field.path in defaults and not isinstance(defaults[field.path], list)
    yield field._replace(default=repr(defaults[field.path])) if is_ours else field


def _merged(prefix: str, table: Mapping[str, Callable[..., Any]]) -> Iterator[Field]:
  """The fields of all functions of a table; those that differ in defaults alone are one."""
  groups: dict[Any, list[str]] = {}
  for name, function in table.items():
    groups.setdefault(plain_function(function), []).append(name)
  for names in groups.values():
    by_name = [list(of_function(prefix, table[name], ", ".join(names))) for name in names]
    for same in zip(*by_name, strict=True):
      defaults = list(dict.fromkeys(field.default for field in same))
      yield same[0]._replace(default=" / ".join(defaults))


def keyword_fields() -> dict[str, list[Field]]:
  """The fields of the groups that become keyword arguments, by a heading."""
  sections: dict[str, list[Field]] = {}

  def add(heading: str, prefix: str, table: Mapping[str, Callable[..., Any]]) -> None:
    sections[heading] = list(_defaulted(_merged(prefix, table)))

  data_sets = {**catalog.BUILDERS, "folders": folder_settings.Description}
  layouts = [name for name in data_sets if name not in ("camvid", "folders", "streets")]
  same = ", ".join(layouts)  # one function takes the settings of all of them
  listed = {name: data_sets[name] for name in ("folders", "streets", "camvid")}
  add("data sets", "data.target", {**listed, same: data_sets[layouts[0]]})
  add("rare classes", "data.rare_class", {"": RareClassSampling})
  add("network", "model", {"": model_catalog.build})
  add("encoders", "model.encoder_options", model_catalog.ENCODERS)
  add("decoders", "model.decoder_options", model_catalog.DECODERS)
  add("adapters", "model.adapter", model_catalog.ADAPTERS)
  add("two resolutions", "model.hrda", {"": hrda.wrap})
  add("methods", "method", methods.METHODS)
  sections["components"] = [
    field
    for name, function in methods.COMPONENTS.items()
    for field in of_function(f"method.also.{name}", function, name)
  ]
  add("teacher", "ema", {"": teacher.Rule})
  add("optimizer", "optimizer", {"": optimizer.build})
  add("groups of parameters", "optimizer.groups[0]", {"": optimizer.Group})
  add("learning rate", "schedule", optimizer.SCHEDULES)
  return sections
