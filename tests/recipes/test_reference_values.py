"""Every published recipe holds the values of its reference implementation (`reference_values.toml`)."""

import dataclasses
import inspect
import pathlib
import re
import tomllib

import pytest

from jax_uda import methods
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, recipes

pytestmark = pytest.mark.fast
TABLE = tomllib.loads((pathlib.Path(__file__).parent / "reference_values.toml").read_text("utf-8"))
FOLDERS = ("gta_to_", "synthia_to_", "cityscapes_to_", "synthetic_to_", "oracle/", "combinations/")
PUBLISHED = [name for name in recipes.names() if name.startswith(FOLDERS)]
ABSENT = "(absent)"


def entries():
  """(recipe with its arguments, entry of the table), one for each variant."""
  for recipe, entry in TABLE["recipes"].items():
    yield recipe, entry
    for arguments, variant in entry.get("variants", {}).items():
      yield f"{recipe}:{arguments}", variant


def wanted(entry):
  """The value and its origin by field."""
  fields = {}
  for name in entry["sets"]:
    fields |= TABLE["sets"][name]
  return fields | entry.get("fields", {})


def plain(value):
  return list(value) if isinstance(value, tuple) else value


def defaults_of(method):
  """What a method's settings are if the recipe leaves them out, with dots."""
  parameters = inspect.signature(methods.METHODS[method]).parameters
  values = {}
  for name, parameter in parameters.items():
    if dataclasses.is_dataclass(parameter.default):
      group = dataclasses.asdict(parameter.default)
      values |= {f"{name}.{key}": plain(value) for key, value in group.items()}
    elif parameter.default is not parameter.empty:
      values[name] = plain(parameter.default)
  return {f"method.{name}": value for name, value in values.items()}


def resolved(config):
  fields = config_diff.flatten(config_diff.to_plain(config))
  return defaults_of(config.method.name) | fields


def check(config, entry, where):
  fields = resolved(config)
  wrong = [
    f"{name} = {fields.get(name, ABSENT)!r}, but {value!r} in {origin}"
    for name, (value, origin) in wanted(entry).items()
    if fields.get(name, ABSENT) != value
  ]
  assert not wrong, f"{where}:\n" + "\n".join(wrong)


@pytest.mark.parametrize("recipe, entry", entries(), ids=[name for name, _ in entries()])
def test_the_recipe_holds_the_values_of_its_reference(recipe, entry):
  config = recipes.load(recipe)
  check(config, entry, recipe)
  for stage, part in entry.get("stages", {}).items():
    check(config_lib.stage_config(config, stage), part, f"{recipe}, stage {stage}")


def test_every_published_recipe_is_in_the_table_and_says_enough():
  names = TABLE["recipes"].keys() | TABLE["unpublished"].keys()
  assert names == set(PUBLISHED)
  assert not TABLE["recipes"].keys() & TABLE["unpublished"].keys()
  for recipe, entry in entries():
    assert len(wanted(entry)) >= 12, f"{recipe}: hardly anything is compared"


def test_every_value_names_a_file_of_a_reference():
  used = {name for _, entry in entries() for name in entry["sets"]}
  stages = [
    stage for entry in TABLE["recipes"].values() for stage in entry.get("stages", {}).values()
  ]
  used |= {name for stage in stages for name in stage["sets"]}
  assert used == TABLE["sets"].keys(), "a set that nobody uses"
  for part in [*TABLE["sets"].values(), *(entry.get("fields", {}) for _, entry in entries())]:
    for field, (_, origin) in part.items():
      assert re.fullmatch(r"[A-Za-z-]+/[\w./-]+\.(py|json|yaml|sh|md)(:\d+)?", origin), field


def test_a_value_that_differs_fails_with_its_origin():
  entry = {"sets": ["crop_rows"]}
  with pytest.raises(
    AssertionError, match=r"ignore_top = 0, but 15 in DAFormer/experiments.py:157"
  ):
    check(recipes.load("gta_to_cityscapes/dacs"), entry, "dacs")
