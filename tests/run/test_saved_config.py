"""Configs that come back from their files, and recipes put together from the folders of stages."""

import json

import pytest
from robustness.table import Case, check, parametrize

from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, recipes, saved_config
from jax_uda.run import field_docs as field_docs_lib
from jax_uda.run.config_dict import ConfigDict

pytestmark = pytest.mark.fast


def plain(config: ConfigDict):
  return config_diff.to_plain(config.copy_and_resolve_references())


@pytest.mark.parametrize(
  "recipe",
  ["demo", "demo:method=rccr", "gta_to_cityscapes/sepico", "gta_to_cityscapes/spcl_stages"],
)
def test_a_config_comes_back_from_its_text(recipe, tmp_path):
  config = recipes.load(recipe)
  (tmp_path / "config.json").write_text(saved_config.to_json(config))
  again = recipes.load(str(tmp_path / "config.json"))
  assert plain(again) == plain(config) and list(again.stages) == list(config.stages)
  stages, stages_again = config_lib.stage_configs(config), config_lib.stage_configs(again)
  assert {n: plain(c) for n, c in stages_again.items()} == {n: plain(c) for n, c in stages.items()}


def test_a_recipe_is_put_together_from_its_stages(tmp_path):
  config = recipes.load("demo:method=confeti")
  stages = config_lib.stage_configs(config)
  for name in sorted(stages, reverse=True):  # not the order in which they are run
    (tmp_path / name).mkdir()
    (tmp_path / name / "config.json").write_text(json.dumps(config_diff.to_plain(stages[name])))
  again = recipes.load(str(tmp_path))
  order = list(again.stages)
  assert order.index("warm_up") < order.index("joint") < order.index("confeti")
  assert order.index("translator") < order.index("joint") and again.compare == ("confeti",)
  for name, stage in config_lib.stage_configs(again).items():
    assert plain(stage) == plain(stages[name])
  saved_config.write_recipe(config, tmp_path)
  assert plain(recipes.load(str(tmp_path))) == plain(config)


def read(text):
  def make(folder):
    (folder / "my.json").write_text(text)
    return recipes.load(str(folder / "my.json")).seed

  return make


@parametrize(
  Case("some fields", read('{"seed": 3}'), 3),
  Case("an unknown field", read('{"sede": 3}'), sentence="config.sede .*Did you mean 'seed'"),
  Case("another type", read('{"seed": "x"}'), sentence="config.seed = 'x' must be of type int"),
  Case("an unknown group", read('{"eval": {"flop": 1}}'), sentence="config.eval.flop .*'flip'"),
  Case("a group that is none", read('{"eval": 1}'), sentence=r"config\.eval"),
  Case("a value that is a group", read('{"seed": {"a": 1}}'), sentence=r"config\.seed"),
  Case("a stage that is none", read('{"stages": {"a": 1}}'), sentence=r"config\.stages\.a"),
  Case("stages that are none", read('{"stages": 1}'), sentence=r"config\.stages"),
  Case("no object", read("[1]"), sentence="my.json is damaged .*list instead of a dict"),
  Case("no JSON", read("{"), sentence="my.json is damaged"),
  Case("nothing", read(""), sentence="my.json is damaged .*empty"),
)
def test_a_config_of_ones_own_ends_in_a_config_or_in_a_sentence(case, tmp_path):
  check(case, tmp_path)


def test_every_field_has_a_meaning():
  rows = [*field_docs_lib.shared_fields()]
  assert len(rows) > 50 and not [row.path for row in rows if not row.meaning]
  sections = field_docs_lib.keyword_fields()
  silent = {
    f"{row.path} [{row.owner}]" for rows in sections.values() for row in rows if not row.meaning
  }
  assert not silent


def test_comments_above_behind_and_between_fields_are_read():
  source = """
def default():
  # Above, in
  # two lines.
  config.a = 1
  config.b = 2

  config.c = 3  # behind
  config.d = 4

def _data_defaults():
  data.e = 5  # of a group
"""
  assert field_docs_lib.comments_of(source) == {
    "a": "Above, in two lines.",
    "b": "Above, in two lines.",
    "c": "Behind",
    "d": "Behind",
    "data.e": "Of a group",
  }
