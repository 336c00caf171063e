"""Whole runs on tiny drawn streets."""

import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import tiny_recipe

from jax_uda.run import (
  changes,
  checkpoint,
  experiment,
  interruption,
  results,
  source_pass,
  stages,
  start,
  step_log,
  training,
)
from jax_uda.run import config as config_lib
from jax_uda.run.report import figures, runs

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> pathlib.Path:
  return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def make_config(data_dir):
  return lambda **changes: tiny_recipe.get_config(
    ",".join([f"data_dir={data_dir}", *(f"{key}={value}" for key, value in changes.items())])
  )


@pytest.fixture(scope="session")
def finished(make_config, tmp_path_factory) -> pathlib.Path:
  """The folder of an uninterrupted run."""
  workdir = tmp_path_factory.mktemp("runs") / "finished"
  training.train(make_config(), workdir)
  return workdir


def final_state(config, workdir: pathlib.Path):
  exp = experiment.build(config)
  with start.open_checkpoints(workdir) as checkpoints:
    return checkpoints.restore(exp.initial_state())


def assert_identical(one, two) -> None:
  for (path, a), b in zip(jax.tree.leaves_with_path(one), jax.tree.leaves(two), strict=True):
    if jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
      a, b = jax.random.key_data(a), jax.random.key_data(b)
    np.testing.assert_array_equal(a, b, err_msg=jax.tree_util.keystr(path))


def metric_rows(workdir: pathlib.Path) -> list[dict]:
  path = workdir / "metrics.jsonl"
  if not path.exists():
    return []
  return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if "\n" in line]


def test_a_run_leaves_its_config_versions_parameters_metrics_results_and_pictures(finished):
  assert json.loads((finished / "config.json").read_text())["method"]["name"] == "dacs"
  assert "jax" in json.loads((finished / "versions.json").read_text())
  assert "decoder" in (finished / "parameters.txt").read_text()
  rows = metric_rows(finished)
  assert [row["step"] for row in rows] == list(range(1, 9))
  assert all(row["loss"] > 0 and row["loss/mixed"] is not None for row in rows)
  results = runs.read_results(finished)
  assert results["step"] == 8
  for domain in ("source", "target"):
    for network in ("student", "teacher"):
      assert len(results[domain][network]["iou"]) == 11
      assert 0 <= results[domain][network]["miou"] <= 1
  assert (finished / "panels.png").stat().st_size > 10_000


@pytest.mark.parametrize("step", [1, 4])  # before the first checkpoint, and behind it
def test_a_run_killed_at_a_step_and_restarted_ends_bit_identical(
  step, finished, make_config, data_dir, tmp_path
):
  workdir = tmp_path / "killed"
  command = [
    sys.executable,
    "main.py",
    f"--config=tests/tiny_recipe.py:data_dir={data_dir}",
    f"--workdir={workdir}",
    f"--compilation_cache={jax.config.jax_compilation_cache_dir}",
  ]
  process = subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )
  deadline = time.monotonic() + 300
  while len(metric_rows(workdir)) < step and process.poll() is None:
    assert time.monotonic() < deadline, "the run made no progress"
    time.sleep(0.005)
  assert process.poll() is None, process.stdout.read()
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  before = len(metric_rows(workdir))
  assert before < 8, f"killed too late for a test, at step {before} instead of {step}"
  training.train(make_config(), workdir)
  config = make_config()
  assert_identical(final_state(config, finished), final_state(config, workdir))
  assert [row["step"] for row in metric_rows(workdir)] == list(range(1, 9)), before
  same = lambda folder: [(row["loss"], row["grad_norm"]) for row in metric_rows(folder)]
  assert same(workdir) == same(finished)


def signal_in(function, step):
  """The function, which sends SIGTERM to this process when it is called for the `step`-th time."""
  calls = itertools.count(1)

  def with_signal(*arguments, **keywords):
    if next(calls) == step:
      os.kill(os.getpid(), signal.SIGTERM)
      time.sleep(0.01)  # a handler runs before the next instructions
    return function(*arguments, **keywords)

  return with_signal


# What is under way when the signal comes: (where, its name, the call that it comes in, the last saved step).
MOMENTS = {
  "the second step": (step_log.StepLog, "add", 2, 2),
  "the last step": (step_log.StepLog, "add", 8, 8),
  "a checkpoint": (checkpoint.Checkpoints, "save", 1, 4),
  "an evaluation": (results, "report_midway", 1, 5),
  "the compiler": (interruption, "in_thread", 1, None),
  "the first state": (source_pass, "run", 1, None),
  "the evaluation at the end": (results, "write", 1, 8),
  "the figures at the end": (figures, "draw_at_end", 1, 8),
}


OFTEN = ("the second step", "an evaluation")  # the others are for the drill


@pytest.mark.parametrize(
  "moment",
  [pytest.param(name, marks=() if name in OFTEN else pytest.mark.faults) for name in MOMENTS],
)
def test_a_run_that_is_told_to_stop_saves_and_continues_bit_identical(
  moment, finished, make_config, tmp_path, monkeypatch
):
  where, name, call, step = MOMENTS[moment]
  config, workdir = make_config(), tmp_path / "stopped"
  config.eval.every_steps = 5
  with monkeypatch.context() as patch, interruption.Interruption():
    patch.setattr(where, name, signal_in(getattr(where, name), call))
    with pytest.raises(interruption.Stopped):
      training.train(config, workdir)
  with start.read_checkpoints(workdir) as checkpoints:
    assert checkpoints.latest_step() == step
  training.train(config, workdir)
  assert_identical(final_state(config, finished), final_state(config, workdir))
  rows = [row for row in metric_rows(workdir) if "loss" in row]
  assert [row["step"] for row in rows] == list(range(1, 9))
  assert [row["step"] for row in metric_rows(workdir) if "target_miou/student" in row] == [5]


def test_a_finished_run_is_evaluated_again_without_training(finished, make_config, capsys):
  before = (finished / "metrics.jsonl").read_text()
  results = runs.read_results(finished)
  assert training.evaluate(make_config(), finished) == results
  assert training.train(make_config(), finished) == results
  assert (finished / "metrics.jsonl").read_text() == before
  assert "step compiled" not in capsys.readouterr().out


def test_an_evaluation_that_was_cut_off_is_made_up_for(make_config, tmp_path, monkeypatch):
  config = make_config(method="source_only")
  config.eval.every_steps = config.checkpoint.every_steps = 3
  config.report = "best_on_target"

  def cut_off(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(training.results, "report_midway", cut_off)
    with pytest.raises(KeyboardInterrupt):
      training.train(config, tmp_path / "run")
  training.train(config, tmp_path / "run")
  rows = metric_rows(tmp_path / "run")
  scores = {row["step"]: row["target_miou/student"] for row in rows if "target_miou/student" in row}
  assert list(scores) == [3, 6]
  content = json.loads((tmp_path / "run" / "results.json").read_text())
  scores[8] = content["last"]["target"]["student"]["miou"]
  best = max(scores, key=lambda step: (round(scores[step], 6), -step))
  assert content["step"] == best and content["last"]["step"] == 8
  assert content["target"]["student"]["miou"] == pytest.approx(scores[best], abs=1e-6)
  assert [row["step"] for row in rows if "loss" in row] == list(range(1, 9))


def test_another_config_in_the_same_folder_is_refused_with_the_fields(finished, make_config):
  config = make_config()
  config.schedule.learning_rate = 0.5
  with pytest.raises(ValueError, match=r"config\.schedule\.learning_rate: 0\.001 there, 0\.5 here"):
    training.train(config, finished)


def test_stages_run_in_order_and_continue_from_one_another(make_config, tmp_path, capsys):
  config = make_config(method="source_only")
  config.stages.warm_up = dict(stop_step=3)
  config.stages.longer = dict(init_from="warm_up", init_carry="run")
  config.stages.adapted = dict(
    init_from="warm_up", init_carry="weights", method=changes.replace(name="dacs"), stop_step=2
  )
  config.compare = ("longer", "adapted")
  stages.train(config, tmp_path / "run")
  steps = lambda stage: [row["step"] for row in metric_rows(tmp_path / "run" / stage)]
  assert steps("warm_up") == [1, 2, 3]
  assert steps("longer") == [4, 5, 6, 7, 8]  # the step and the optimizer continue
  assert steps("adapted") == [1, 2]  # only weights were carried
  out = capsys.readouterr().out
  table = "\n".join(out.splitlines()[-40:])
  assert "longer" in table and "mIoU" in table
  # A stage that continues "run" is the run that never stopped.
  whole = make_config(method="source_only")
  training.train(whole, tmp_path / "whole")
  longer = config_lib.stage_config(config, "longer")
  one, two = final_state(whole, tmp_path / "whole"), final_state(longer, tmp_path / "run/longer")
  assert_identical(one, two)


def test_a_stage_whose_predecessor_is_missing_is_refused(make_config, tmp_path):
  config = make_config()
  config.init_from = "nowhere"
  with pytest.raises(ValueError, match="config.init_from = 'nowhere'"):
    training.train(config, tmp_path / "run")


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_term(make_config, tmp_path):
  config = make_config(method="source_only")
  config.schedule.learning_rate = 1e30
  with pytest.raises(FloatingPointError, match=r"step \d: .*loss = .*, loss/source = "):
    training.train(config, tmp_path / "run")
  with start.open_checkpoints(tmp_path / "run") as checkpoints:
    state = (
      checkpoints.restore(experiment.build(config).initial_state()) if checkpoints.steps() else None
    )
  assert state is None or all(np.isfinite(x).all() for x in jax.tree.leaves(state.student))


def test_a_batch_that_the_devices_cannot_share_is_refused_before_any_work(make_config, tmp_path):
  config = make_config()
  config.batch_size = 3
  with pytest.raises(ValueError, match="config.batch_size = 3 cannot be split over 8 devices"):
    training.train(config, tmp_path / "run")
