"""What a person sees who types something wrong."""

import pathlib
import subprocess
import sys

import pytest

from jax_uda.cli import command, options
from jax_uda.common.registry import SettingError

ROOT = pathlib.Path(__file__).parents[2]


def main(*arguments: str) -> subprocess.CompletedProcess:
  command = [sys.executable, "main.py", *arguments]
  return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


DEMO = "--config=configs/demo.py"
MISTAKES = {
  "no workdir": ([DEMO], "--workdir is missing, e.g. --workdir=runs/demo"),
  "no config": (["--workdir=x"], "--config is missing, e.g. --config=configs/demo.py"),
  "no such recipe": (
    ["--config=configs/dmo.py", "--workdir=x"],
    "--config = 'configs/dmo.py' is neither a file nor a recipe of the package. Did you mean 'demo'",
  ),
  "unknown field": (
    [DEMO, "--workdir=x", "--config.batchsize=3"],
    "--config.batchsize=3: config.batchsize is no field of the config. Did you mean 'batch_size'",
  ),
  "field of a stage": (
    [DEMO, "--workdir=x", "--config.stages.warm_up.num_steps=few"],
    "--config.stages.warm_up.num_steps=few: ",
  ),
  "field without a value": (
    [DEMO, "--workdir=x", "--noconfig.data.flip"],
    "--noconfig.data.flip: fields are set in the form --config.<field>=<value>",
  ),
  "value after a space": (
    [DEMO, "--workdir=x", "--config.num_steps", "7"],
    "--config.num_steps: fields are set in the form --config.<field>=<value>",
  ),
  "stray word": ([DEMO, "--workdir=x", "train"], "unknown argument 'train'"),
  "unknown argument": (["--config=configs/demo.py:sead=3", "--workdir=x"], "Did you mean 'seed'"),
  "wrong type": ([DEMO, "--workdir=x", "--config.batch_size=many"], "--config.batch_size=many"),
  "unknown mode": (
    [DEMO, "--workdir=x", "--mode=trian"],
    "<train|eval|predict|check_data|prepare|pseudo_label|plan|report|export_weights|import_weights>",
  ),
  "nothing to import": (["--mode=import_weights"], "--from is missing, e.g. --from=mit_b5.pth"),
  "no such weights": (
    ["--mode=import_weights", "--from=y.pth", "--encoder=mit_b0", "--out=x"],
    "y.pth: there is no such weight file",
  ),
  "flag of another mode": (
    [DEMO, "--workdir=x", "--encoder=mit_b0"],
    "--encoder belongs to --mode=import_weights",
  ),
  "nothing to predict": ([DEMO, "--workdir=x", "--mode=predict"], "--images is missing, e.g."),
  "images that do not exist": (
    [DEMO, "--workdir=x", "--mode=predict", "--images=y"],
    "--images=y: there is no such file or folder",
  ),
  "flag of predict": ([DEMO, "--workdir=x", "--ids=cityscapes"], "--ids belongs to --mode=predict"),
  "ids that a server has already": (
    [DEMO, "--workdir=x", "--mode=predict", "--images=y", "--ids=train", "--server=acdc"],
    "--server=acdc says which ids are written; leave --ids out",
  ),
  "nothing to prepare": (["--mode=prepare", "--dataset=gta5"], "--manual_dir is missing, e.g."),
  "unknown data set": (
    ["--mode=prepare", "--dataset=gta", "--manual_dir=y"],
    "--dataset = 'gta' is unknown. Did you mean 'gta5'?",
  ),
  "flag of prepare": ([DEMO, "--workdir=x", "--size=3,4"], "--size belongs to --mode=prepare"),
  "network of a file": (
    [DEMO, "--workdir=x", "--mode=eval", "--network=teacher"],
    "of config.init_weights, config.init_network says which",
  ),
  "data set of a config": (
    [DEMO, "--mode=prepare", "--data_dir=y"],
    "--data_dir does not go with --config, which says what is prepared",
  ),
  "unknown flag": ([DEMO, "--workdr=x"], "Did you mean: workdir"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_ends_in_one_sentence(name):
  arguments, message = MISTAKES[name]
  run = main(*arguments)
  assert run.returncode != 0
  assert run.stderr.startswith("error: ") and len(run.stderr.strip().splitlines()) == 1, run.stderr
  assert message in run.stderr
  assert not (ROOT / "x").exists()


def test_an_unknown_network_is_named_after_one_line(tmp_path):
  run = main(
    "--config=tests/tiny_recipe.py:data_dir=/nowhere/at/all",
    f"--workdir={tmp_path / 'run'}",
    "--config.data.source.domain=fog",
  )
  assert "config.data.source.domain = 'fog' is unknown" in run.stderr
  assert "Traceback" not in run.stderr and not (tmp_path / "run").exists()


def test_an_error_about_a_setting_names_the_flag_that_the_user_typed():
  assert options.ENCODER.name == "encoder"
  with pytest.raises(ValueError, match=r"^--encoder = 'mit_b9' is unknown"), command.naming_flags():
    raise SettingError("config.model.encoder", "= 'mit_b9' is unknown.")
  with pytest.raises(SettingError, match=r"^config\.data"), command.naming_flags():
    raise SettingError("config.data", "is no data set.")


def test_help_names_the_flags_and_all_modes():
  run = main("--help")
  for text in (
    "--config",
    "--workdir",
    "--mode",
    "evaluate the newest checkpoint of a run again",
    "--from",
    "configs/demo.py:target=night",
  ):
    assert text in run.stdout + run.stderr


def test_a_new_field_of_a_group_is_checked_by_the_function_that_takes_it(tmp_path):
  run = main(
    "--config=tests/tiny_recipe.py",
    f"--workdir={tmp_path / 'run'}",
    f"--config.data.dir={tmp_path / 'data'}",
    "--config.method.self_training.pseudo_treshold=0.5",
  )
  assert "has no field 'pseudo_treshold'. Did you mean 'pseudo_threshold'" in run.stderr, run.stderr
  assert "Traceback" not in run.stderr and not (tmp_path / "run").exists()
