"""The commands that recipes document: they resolve word for word, and run in small."""

import os
import re
import shlex
import subprocess
import sys

import pytest
from reproduction_page import PAGE, ROOT, ROWS

from jax_uda.common.registry import SettingError
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, recipes

COMMANDS = sorted({row.command for row in ROWS})
# Those that the docstrings print; the others have further arguments of their tables.
PRINTED = sorted({row.command for row in ROWS if not row.arguments})
VARIANTS = [command for command in COMMANDS if command not in PRINTED]
# Numbers in place of names: `-k` chooses tests by the names of methods.
NUMBERS = [f"command {number}" for number in range(len(COMMANDS))]
RECIPES = [
  name
  for name in recipes.names()
  if name.startswith(("gta_to_", "synthia_to_", "cityscapes_to_", "synthetic_to_", "oracle/"))
]


def words(command):
  """The words behind `python main.py`; the whole is what a shell makes of the documented text."""
  first, second, *others = shlex.split(command, comments=True)
  assert (first, second) == ("python", "main.py")
  return others


def arguments(command):
  """The recipe and its arguments as dictionaries."""
  flag = next(word for word in words(command) if word.startswith("--config="))
  recipe, _, text = flag.removeprefix("--config=").partition(":")
  return recipe, dict(item.split("=") for item in text.split(","))


@pytest.mark.fast
def test_the_page_is_up_to_date():
  assert PAGE.PAGE.read_text("utf-8") == PAGE.page(), "run `python docs/reproduction.py`"


@pytest.mark.fast
def test_every_recipe_documents_its_command_and_its_number():
  assert {row.recipe for row in ROWS} == set(RECIPES)
  for row in ROWS:
    assert re.fullmatch(r"-|\d\d(\.\d)?", row.number), row
    assert (row.kind == "-") <= (row.number == "-"), row
    assert row.origin and ("not at hand" in row.origin) <= (row.number == "-"), row
    # A number that was chosen by the target's labels says so.
    recipe = recipes._folder() / f"{row.recipe}.py"
    if "by the target's labels" in row.kind:
      assert "oracle" in recipe.read_text("utf-8"), row


@pytest.mark.fast
@pytest.mark.parametrize("command", COMMANDS, ids=NUMBERS)
def test_a_documented_command_resolves_word_for_word_and_in_small(command):
  recipe, typed = arguments(command)
  (workdir,) = [word for word in words(command) if word.startswith("--workdir=")]
  assert len([row for row in COMMANDS if f"{workdir} " in row]) == 1, "another command's folder"
  flag = next(word for word in words(command) if word.startswith("--config="))
  config = recipes.load(flag.removeprefix("--config="))
  assert config.data.source.path == typed["source"]
  assert config.data.target.path == typed["target"]
  assert config.init_weights == typed["weights"] != ""
  small = recipes.load(flag.removeprefix("--config=") + ",smoke")
  assert list(small.stages) == list(config.stages)
  for stage in (config_lib.stage_configs(small) or {"": small}).values():
    assert stage.data.source.name == stage.data.target.name == "streets"


@pytest.mark.fast
@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_the_same_data_arguments_and_unseen_data_sets(name):
  unseen = ("bdd100k", "mapillary", "nighttime_driving", "wilddash2")
  text = ",".join(
    ["source=/s", "target=/t", "weights=w.pth", *(f"{each}=/{each}" for each in unseen)]
  )
  config = recipes.load(f"{name}:{text}")
  assert (config.data.source.path, config.data.target.path) == ("/s", "/t")
  assert config.init_weights == "w.pth"
  for each in unseen:
    spec = config.eval.targets[each]
    assert (spec.name, spec.path, len(spec.size)) == (each, f"/{each}", 2)


@pytest.mark.fast
@pytest.mark.parametrize("name", RECIPES)
def test_any_field_can_be_set_also_in_groups_that_the_recipe_leaves_out(name):
  fields = {
    "model.encoder_options.remat": True,
    "model.decoder_options.channels": 128,
    "method.self_training.pseudo_threshold": 0.9,
    "method.also.masked.block": 32,
    "data.rare_class.temperature": 0.5,
    "optimizer.b1": 0.8,
    "schedule.power": 0.5,
    "ema.offset": 1,
    "eval.targets.mine.path": "/mine",
  }
  config = recipes.load(name, [(field, str(value)) for field, value in fields.items()])
  leaves = lambda part: {
    field: value
    for field, value in config_diff.flatten(config_diff.to_plain(part)).items()
    if field in fields
  }.items()
  assert fields.items() <= leaves(config)
  for stage in config_lib.stage_configs(config).values():
    # A stage may have a method, and so a sampling, of its own.
    shared = {field: fields[field] for field in fields if not field.startswith(("method", "data"))}
    assert shared.items() <= leaves(stage)


@pytest.mark.fast
@pytest.mark.parametrize("argument", ["rcs=often", "feature_distance=some", "network=vgg"])
def test_an_argument_that_is_no_choice_is_refused_with_the_known_ones(argument):
  name, _, value = argument.partition("=")
  with pytest.raises(SettingError, match=f"argument {name} = '{value}' is unknown.*Known: "):
    recipes.load(f"gta_to_cityscapes/daformer:{argument}")


@pytest.mark.long
@pytest.mark.parametrize("command", PRINTED, ids=range(len(PRINTED)))
def test_a_printed_command_runs_in_small(command, tmp_path):
  run_in_small(command, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("command", VARIANTS, ids=range(len(VARIANTS)))
def test_a_variant_of_a_printed_command_runs_in_small(command, tmp_path):
  run_in_small(command, tmp_path)


def run_in_small(command, tmp_path):
  """Runs a command word for word, but for `smoke` and its folders."""
  flags = [f"{word},smoke" if word.startswith("--config=") else word for word in words(command)]
  flags = [f"--workdir={tmp_path / 'run'}" if w.startswith("--workdir=") else w for w in flags]
  # One device, as users have, and no time spent on fast programs.
  environment = os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
  done = subprocess.run(
    [sys.executable, "main.py", *flags, f"--config.data.dir={tmp_path / 'data'}"],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
    timeout=3000,
  )
  assert not done.returncode, done.stderr[-3000:]
  assert list((tmp_path / "run").rglob("results.json"))
