"""Configs that lie on disk: of one run, of a recipe with stages, or in a file of the user's.

A run has `config.json`. A recipe with stages also writes `recipe.json` beside the folders of its stages; without
it, as in runs of earlier versions, the recipe is put together from the configs of the stages.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from jax_uda.common import registry, state_files
from jax_uda.common.registry import SettingError
from jax_uda.run import changes, config_diff
from jax_uda.run import config as config_lib
from jax_uda.run.config_dict import ConfigDict

CONFIG, RECIPE = "config.json", "recipe.json"
_PURPOSE = "it holds the config of a run; put a copy of it there, or name the recipe with --config"


def from_plain(content: Mapping[str, Any]) -> ConfigDict:
  """The config of JSON's values; fields that it lacks have their defaults.

  Args:
    content: Nested dicts, lists and scalars, as `config_diff.to_plain` gives them.

  Raises:
    SettingError: There is no such field, or a value has another type; the path begins with "config".
  """
  content = {name: value for name, value in content.items() if name != "stages"} | {
    "stages": content.get("stages") or {}
  }
  config = config_lib.default()
  with registry.within("config"):
    stages = content.pop("stages")
    if not isinstance(stages, Mapping):
      raise SettingError("stages", f"= {stages!r} must be a group with one group per stage.")
    for name, stage in stages.items():
      if not isinstance(stage, Mapping):
        raise SettingError(("stages", name), f"= {stage!r} must be a group of fields.")
      config.stages[name] = with_tuples(stage)
    for path in config_lib.KEYWORD_GROUPS:
      _empty(config, content, path)
    changes.merge(config, with_tuples(content), accepts=config_lib.may_add)
  return config


def _empty(config: ConfigDict, content: Any, path: tuple[str, ...]) -> None:
  """Takes the defaults out of a group whose fields are those of the content alone."""
  for name in path[:-1]:
    config, content = config[name], content.get(name, {})
    if not isinstance(content, Mapping):
      return
  if isinstance(content.get(path[-1]), Mapping):
    config[path[-1]] = ConfigDict()


def with_tuples(value: Any) -> Any:
  """A value from JSON with tuples instead of lists, as configs and modules want them."""
  if isinstance(value, Mapping):
    return {name: with_tuples(item) for name, item in value.items()}
  return tuple(with_tuples(item) for item in value) if isinstance(value, list) else value


def to_json(config: ConfigDict) -> str:
  """The text of a config, stages too; `read` gives the same config back."""
  return json.dumps(config_diff.to_plain(config.copy_and_resolve_references()), indent=2)


def write_recipe(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Writes the config of a recipe with stages beside their folders."""
  workdir.mkdir(parents=True, exist_ok=True)
  state_files.write_json(workdir / RECIPE, json.loads(to_json(config)))


def read(file: pathlib.Path) -> ConfigDict:
  """The config in a JSON file.

  Raises:
    SettingError: A field is wrong.
    state_files.DamagedFileError: The file holds no config.
  """
  return from_plain(state_files.read_json(file, dict, _PURPOSE))


def is_run(folder: pathlib.Path) -> bool:
  """Whether a folder holds a run, or the runs of a recipe's stages."""
  return (folder / RECIPE).is_file() or (folder / CONFIG).is_file() or bool(_stages_in(folder))


def of_folder(folder: pathlib.Path) -> ConfigDict:
  """The config of what was run in a folder.

  Raises:
    ValueError: There is no run, or a file of it is damaged.
  """
  for name in (CONFIG, RECIPE):
    if (folder / name).is_file():
      return read(folder / name)
  stages = {path.name: read(path / CONFIG) for path in _stages_in(folder)}
  if not stages:
    raise ValueError(f"{folder} holds no run: there is no {CONFIG} in it or in a folder below it.")
  config = config_lib.default()
  predecessors: set[str] = set()
  for name, stage in _in_order(stages).items():
    config.stages[name] = _as_changes(config_diff.to_plain(stage))
    predecessors |= _predecessors(stage)
  config.compare = tuple(name for name in config.stages if name not in predecessors)
  return config


def _stages_in(folder: pathlib.Path) -> list[pathlib.Path]:
  """The folders of stages, the one that was started first in front."""
  paths = [path for path in folder.glob("*") if (path / CONFIG).is_file()]
  return sorted(paths, key=lambda path: (path / CONFIG).stat().st_mtime)


def _predecessors(stage: ConfigDict) -> set[str]:
  return {stage.init_from, stage.init_auxiliary, stage.data.pseudo_labels} - {""}


def _in_order(stages: dict[str, ConfigDict]) -> dict[str, ConfigDict]:
  """Stages behind those that they begin with."""
  ordered: dict[str, ConfigDict] = {}
  while len(ordered) < len(stages):
    rest = {name: stage for name, stage in stages.items() if name not in ordered}
    ready = [name for name, stage in rest.items() if not _predecessors(stage) & rest.keys()]
    name = next(iter(ready or rest))
    ordered[name] = stages[name]
  return ordered


def _as_changes(content: dict[str, Any]) -> dict[str, Any]:
  """The whole config of a stage as what it changes in the defaults."""
  content = {name: value for name, value in content.items() if name not in ("stages", "compare")}
  for path in config_lib.KEYWORD_GROUPS:
    group = content
    for name in path[:-1]:
      group = group.get(name, {})
    if path[-1] in group:
      group[path[-1]] = changes.replace(**group[path[-1]])
  return with_tuples(content)
