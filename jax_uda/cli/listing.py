"""What `jax-uda list` prints: names with a line each, and the fields of a config."""

import ast
import collections
import importlib.util
import inspect
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.run import recipes

WIDTH = 100


def text(kind: str = "", word: str = "") -> str:
  """A list, or all of them in short.

  Args:
    kind: A key of `KINDS`; empty: an overview.
    word: Only lines with this word; of fields, those whose path holds it, or those of one choice, e.g.
      "method.sepico".

  Raises:
    SettingError: There is no such kind.
    ValueError: Nothing has the word.
  """
  if not kind:
    return _overview()
  make = registry.lookup(KINDS, kind, "list")
  if kind == "fields":
    return _fields(word)
  lines = [_line(name, about) for name, about in make().items() if word in f"{name} {about}"]
  if not lines:
    raise ValueError(f"no {kind} with {word!r}; `jax-uda list {kind}` shows all")
  return "\n".join(lines)


def _overview() -> str:
  lines = []
  for kind, make in KINDS.items():
    if kind != "fields":
      names = make()
      body = textwrap.fill(", ".join(names), WIDTH, initial_indent="  ", subsequent_indent="  ")
      lines += [f"{kind} ({len(names)})", body, ""]
  lines += [
    "fields",
    "  jax-uda list fields [WORD]: every field of a config, e.g. eval, schedule, ",
  ]
  lines[-1] += "method.sepico"
  lines += [
    "",
    "`jax-uda list KIND` says what each is; these names go into a config (docs/config.md).",
  ]
  return "\n".join(lines)


def _line(name: str, about: str) -> str:
  indent = " " * 4
  return f"{name}\n{textwrap.fill(about, WIDTH, initial_indent=indent, subsequent_indent=indent)}"


def _first_sentence(docstring: str | None) -> str:
  paragraph = inspect.cleandoc(docstring or "").split("\n\n")[0]
  return " ".join(paragraph.split())


def _recipes() -> dict[str, str]:
  listed = {}
  for name in recipes.names():
    spec = importlib.util.find_spec(f"{recipes.package().__name__}.{name.replace('/', '.')}")
    if spec and spec.origin:
      with open(spec.origin, encoding="utf-8") as file:
        listed[name] = _first_sentence(ast.get_docstring(ast.parse(file.read())))
  return listed


def _described(
  table: Mapping[str, Callable[..., Any]], *, by_module: bool = False
) -> dict[str, str]:
  """The first paragraph of the docstring of each entry, or of the module that holds it alone."""
  from jax_uda.run import field_docs

  plain = {name: field_docs.plain_function(item) for name, item in sorted(table.items())}
  in_module = collections.Counter(item.__module__ for item in set(plain.values()))
  listed = {}
  for name, item in plain.items():
    is_alone = by_module and in_module[item.__module__] == 1
    listed[name] = _first_sentence((inspect.getmodule(item) if is_alone else item).__doc__)
  return listed


def _methods() -> dict[str, str]:
  from jax_uda import methods

  return _described(methods.METHODS, by_module=True)


def _components() -> dict[str, str]:
  from jax_uda import methods

  return _described(methods.COMPONENTS)


def _losses() -> dict[str, str]:
  from jax_uda import losses

  names = {name for name, item in vars(losses).items() if inspect.isfunction(item)}
  own_folder = "jax_uda.losses"
  functions = {name: getattr(losses, name) for name in names}
  return _described(
    {name: item for name, item in functions.items() if item.__module__.startswith(own_folder)}
  )


def _encoders() -> dict[str, str]:
  from jax_uda.models import catalog

  return _described(catalog.ENCODERS, by_module=True)


def _decoders() -> dict[str, str]:
  from jax_uda.models import catalog

  return _described(catalog.DECODERS, by_module=True)


def _data_sets() -> dict[str, str]:
  from jax_uda.data.datasets import catalog

  listed = {}
  for name, builder in sorted(catalog.BUILDERS.items()):
    layout = getattr(builder, "layout", None)
    module = inspect.getmodule(builder)
    listed[name] = layout.title if layout else _first_sentence(module and module.__doc__)
  return listed


def _fields(word: str) -> str:
  from jax_uda.run import field_docs

  rows = [*field_docs.shared_fields()]
  rows += [row for section in field_docs.keyword_fields().values() for row in section]
  top, _, owner = word.partition(".")
  chosen = [
    row
    for row in rows
    if word in row.path
    or word in row.owner.split(", ")
    or (owner in row.owner.split(", ") and row.path.startswith(top) and owner)
  ]
  if not chosen:
    raise ValueError(f"no field with {word!r}; `jax-uda list fields` shows all")
  return "\n".join(_line(_title(row), row.meaning) for row in chosen)


def _title(row: Any) -> str:
  default = f" = {row.default}" if row.default else ""
  owner = f"   [{row.owner}]" if row.owner else ""
  return f"config.{row.path}: {row.kind or 'any'}{default}{owner}"


KINDS: dict[str, Callable[[], Mapping[str, str]]] = {
  "recipes": _recipes,
  "methods": _methods,
  "components": _components,
  "losses": _losses,
  "encoders": _encoders,
  "decoders": _decoders,
  "datasets": _data_sets,
  "fields": dict,
}
