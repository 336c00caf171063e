"""Recipes: found by the name or by the file that a user gives, and called with their arguments.

The recipes of the repository's `configs/` are installed as the package `jax_uda.recipes`. A recipe is
a module with a function `get_config(arg)`, where `arg` is what follows the colon.
"""

import importlib
import importlib.util
import pathlib
import re
import sys
import types
from collections.abc import Iterable

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.run import changes, saved_config
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict

PACKAGE = "jax_uda.recipes"
_RECIPE = re.compile(r"^(def )?get_config\b", re.MULTILINE)  # other modules are what recipes share
_CHECKOUT = pathlib.Path(__file__).parents[2] / "configs"


def package() -> types.ModuleType:
  """The package `jax_uda.recipes`; without an installed one, the `configs/` of the checkout."""
  try:
    return importlib.import_module(PACKAGE)
  except ModuleNotFoundError as error:
    if error.name != PACKAGE:
      raise
  module = _run_file(PACKAGE, _CHECKOUT / "__init__.py", search=[str(_CHECKOUT)])
  setattr(sys.modules["jax_uda"], "recipes", module)  # noqa: B010 — as importing a submodule does
  return module


def names() -> list[str]:
  """The recipes of the package, e.g. `gta_to_cityscapes/sepico`, sorted."""
  folder = _folder()
  files = (file for file in folder.rglob("*.py") if _RECIPE.search(file.read_text("utf-8")))
  return sorted(file.relative_to(folder).with_suffix("").as_posix() for file in files)


def load(recipe: str, overrides: Iterable[tuple[str, str]] = ()) -> ConfigDict:
  """The config of a recipe, locked.

  Args:
    recipe: A file or the name of a recipe of the package, then its arguments after a colon:
      `configs/demo.py`, `gta_to_cityscapes/sepico:smoke`, `my_recipe.py:seed=1`; or the folder or the
      `config.json` of a run, or another JSON file with the fields of a config.
    overrides: Paths of fields and their new values as texts, set in this order.

  Raises:
    SettingError: There is no such recipe (path `recipe`), or a field cannot be set (path `config.…`).
    ValueError: The recipe refuses its arguments.
  """
  config = _config_of(recipe).unlock()
  with registry.within("config"):
    for field, text in overrides:
      changes.set_from_text(config, field, text, accepts=lambda path: _may_add(config, path))
    config_lib.fill_data_sets(config)
  config_lib.stage_configs(config)  # refuses what no stage can have
  return config.lock()


def _config_of(recipe: str) -> ConfigDict:
  """The config of a recipe or of a run."""
  path = pathlib.Path(recipe).expanduser()
  if path.is_dir() and saved_config.is_run(path):
    return saved_config.of_folder(path)
  if path.suffix == ".json" and path.is_file():
    return saved_config.read(path)
  name, _, arg = recipe.partition(":")
  module = _module(name)
  if not hasattr(module, "get_config"):
    raise SettingError("recipe", f"= {name!r} has no function get_config(arg).")
  return module.get_config(arg)


def short_name(recipe: str) -> str:
  """What the folder of a recipe's run is called: `gta_to_cityscapes_sepico`, or a file's own name."""
  name = recipe.removesuffix(".py").removeprefix("configs/")
  return name.replace("/", "_") if name in names() else pathlib.Path(recipe).stem


def path_of(field: str) -> tuple[str, ...]:
  """The path in errors about a field that was set by its name."""
  return changes.split(field)


def _may_add(config: ConfigDict, path: tuple[str, ...]) -> bool:
  """Whether a field may be added; a stage may change every field of the config."""
  if path[0] == "stages":
    return len(path) > 2 and (config_lib.may_add(path[2:]) or _has(config, path[2:]))
  return config_lib.may_add(path)


def _has(config: ConfigDict, path: tuple[str, ...]) -> bool:
  group: object = config
  for name in path:
    if not isinstance(group, ConfigDict) or name not in group:
      return False
    group = group[name]
  return True


def _module(name: str) -> types.ModuleType:
  """The module of a recipe."""
  file = pathlib.Path(name)
  if file.is_file():
    file = file.resolve()
    if not file.is_relative_to(_folder()):
      return _run_file("recipe", file)
    name = file.relative_to(_folder()).as_posix()
  name = name.removesuffix(".py").removeprefix("configs/")
  if name not in names():
    raise SettingError(
      "recipe",
      f"= {str(file)!r} is neither a file nor a recipe of the package."
      f"{registry.hint(name, names())} Recipes: {', '.join(names())}.",
    )
  return importlib.import_module(f"{PACKAGE}.{name.replace('/', '.')}")


def _folder() -> pathlib.Path:
  return pathlib.Path(str(package().__file__)).resolve().parent


def _run_file(name: str, file: pathlib.Path, search: list[str] | None = None) -> types.ModuleType:
  """Runs a file as the module `name`; with folders to search, as a package that stays known."""
  spec = importlib.util.spec_from_file_location(name, file, submodule_search_locations=search)
  if spec is None or spec.loader is None:
    raise SettingError("recipe", f"= {str(file)!r} is not a Python file.")
  module = importlib.util.module_from_spec(spec)
  if search:
    sys.modules[name] = module
  spec.loader.exec_module(module)
  return module
