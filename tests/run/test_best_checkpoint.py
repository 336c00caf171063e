"""The checkpoint with the best score on the target: kept through kills, reported as an oracle, handed on."""

import dataclasses
import json
import math
import shutil

import flax
import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
import tiny_recipe

from jax_uda import run
from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files
from jax_uda.run import (
  best_checkpoint,
  checkpoint,
  classes_file,
  config_diff,
  experiment,
  results,
  settings,
  stages,
  start,
  sweep,
  training,
)
from jax_uda.run.label_size import LabelsAt
from jax_uda.run.report import comparison, figures, runs
from jax_uda.run.report.writer import MetricWriter, has_scores

ORACLE = "best_on_target (oracle: chosen with the target's labels)"


@flax.struct.dataclass
class ToyState:
  step: jax.Array
  weights: jax.Array


def toy_state(step):
  state = ToyState(jnp.int32(step), jnp.full(3, 0.1 * step))
  return jax.device_put(state, mesh_lib.replicated(mesh_lib.data_mesh(1)))


def keep(workdir, *scores, network="student", first=1):
  for step, score in enumerate(scores, first):
    best_checkpoint.keep(workdir, toy_state(step), {network: score, "other": 1.0})


def kept_steps(workdir):
  return sorted(int(path.name) for path in (workdir / "best_on_target").iterdir() if path.is_dir())


@pytest.mark.parametrize(
  ("scores", "best"),
  (
    ((0.2, 0.5, 0.4), 2),
    ((0.5, 0.5, 0.5), 1),  # the earliest of equal ones
    ((0.2, 0.3, 0.3000004), 2),  # equal in results.json
    ((math.nan, 0.1, None), 2),
    ((0.0, math.nan), 1),
    ((math.nan, None), None),
  ),
)
def test_the_best_is_kept_alone_and_the_earliest_of_equals(tmp_path, scores, best):
  keep(tmp_path, *scores)
  found = best_checkpoint.read(tmp_path)
  assert (found and found.step) == best
  assert (found and (found.network, found.miou == round(scores[best - 1], 6))) in (
    None,
    ("student", True),
  )
  state = best_checkpoint.restore(toy_state(9), tmp_path, "best_on_target")
  assert int(state.step) == (best or 9)
  np.testing.assert_array_equal(state.weights, toy_state(best or 9).weights)
  assert int(best_checkpoint.restore(toy_state(9), tmp_path, "last").step) == 9
  if best:
    assert kept_steps(tmp_path) == [best]


@pytest.mark.parametrize("moment", ("save", "say", "write_json"))
def test_a_kill_at_any_moment_leaves_the_best_before_and_the_evaluation_is_repeated(
  tmp_path, monkeypatch, moment
):
  keep(tmp_path, 0.2, 0.3)
  where = {"save": checkpoint.Checkpoints, "say": best_checkpoint}.get(
    moment, best_checkpoint.state_files
  )

  def killed(*_, **__):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(where, moment, killed)
    with pytest.raises(KeyboardInterrupt):
      keep(tmp_path, 0.5, first=3)
  assert best_checkpoint.read(tmp_path).step == 2
  assert int(best_checkpoint.restore(toy_state(9), tmp_path, "best_on_target").step) == 2
  keep(tmp_path, 0.5, 0.1, first=3)
  assert best_checkpoint.read(tmp_path).step == 3 and kept_steps(tmp_path) == [3]


def test_a_run_that_goes_on_from_before_its_best_keeps_it_or_a_better_one(tmp_path):
  keep(tmp_path, 0.2, 0.3, 0.5)
  keep(tmp_path, 0.2, 0.3, 0.5)  # the same steps once more
  assert best_checkpoint.read(tmp_path).step == 3
  keep(tmp_path, 0.2, 0.6)  # devices that do not repeat themselves
  assert best_checkpoint.read(tmp_path) == (2, 0.6, "student")


def test_a_digit_that_has_changed_in_the_note_of_the_best_is_noticed(tmp_path):
  keep(tmp_path, 0.25)
  path = tmp_path / "best_on_target/best.json"
  path.write_text(path.read_text().replace("0.25", "0.35"))
  with pytest.raises(ValueError, match=r"best\.json is damaged\. Remove it"):
    best_checkpoint.read(tmp_path)


def test_a_damaged_note_and_an_unknown_report_are_explained(tmp_path):
  keep(tmp_path, 0.2)
  (tmp_path / "best_on_target/best.json").write_text('{"step": 1')
  with pytest.raises(ValueError, match=r"best\.json is damaged\. Remove it"):
    best_checkpoint.read(tmp_path)
  config = tiny_recipe.get_config()
  config.report = "best"
  with pytest.raises(ValueError, match=r"config\.report = 'best' is unknown.*best_on_target, last"):
    experiment.build(config)


SCORES = {2: 0.3, 4: 0.6, 6: 0.6, 8: 0.5}  # by step


def scripted(exp, state, name, networks=("student", "teacher"), progress=None):
  """Counts whose IoU is that of the step for every class."""
  num_classes = exp.domains.label_space.num_classes
  hits = round(1000 * SCORES[int(state.step)])
  counts = np.eye(num_classes, dtype=np.int64) * hits
  counts += np.roll(np.eye(num_classes, dtype=np.int64), 1, axis=1) * ((1000 - hits) // 2)
  return dict.fromkeys(networks, counts)


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
  config = tiny_recipe.get_config(f"data_dir={tmp_path_factory.mktemp('data')},method=source_only")
  config.report = "best_on_target"
  return config, experiment.build(config)


@pytest.fixture
def config(exp, monkeypatch):
  """The config of a run whose experiment is built already, whose scores are given and figures left out."""
  built = lambda config: dataclasses.replace(exp[1], settings=settings.from_config(config))
  monkeypatch.setattr(experiment, "build", built)
  monkeypatch.setattr(results, "count", scripted)
  monkeypatch.setattr(training.figures, "draw_at_end", lambda *_: None)
  monkeypatch.setattr(training.dry_run, "evaluation", lambda _: None)
  return exp[0]


@pytest.fixture(scope="module")
def finished(exp, tmp_path_factory):
  """The folder of a run that looks trained; in the state of step k, all parameters have k added."""
  config, built = exp
  folder = tmp_path_factory.mktemp("runs") / "first"
  folder.mkdir()
  first = built.initial_state()
  (folder / "config.json").write_text(json.dumps(config_diff.to_plain(config)))
  classes_file.write(folder, built.domains)
  with pytest.MonkeyPatch.context() as patch, MetricWriter(folder) as writer:
    patch.setattr(results, "count", scripted)
    with start.open_checkpoints(folder, keep=1) as checkpoints:
      for step in SCORES:
        added = jax.tree.map(lambda x, step=step: np.asarray(x) + step, first.student)
        student = jax.device_put(added, mesh_lib.replicated(built.learner.mesh))
        state = first.replace(step=first.step + step, student=student)
        if step < 8:
          results.report_midway(built, state, writer, folder)
        else:
          checkpoints.save(state)
          results.write(built, state, folder, writer, at_end=True)
  return folder


def read_results(folder):
  content = json.loads((folder / "results.json").read_text())
  content.pop("checksum", None)
  return content


def bias(state):
  return jax.tree.leaves(state.student["params"])[0]


def test_the_best_is_on_disk_before_its_scores_are(config, tmp_path, monkeypatch):
  exp = experiment.build(config)
  state = exp.initial_state()
  state = state.replace(step=state.step + 4)
  with MetricWriter(tmp_path) as writer, monkeypatch.context() as patch:
    patch.setattr(best_checkpoint, "keep", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
      results.report_midway(exp, state, writer, tmp_path)
  assert not has_scores(tmp_path, 4)  # so a run that goes on evaluates this step again


def test_both_checkpoints_are_reported_and_the_best_is_called_an_oracle(finished):
  content = read_results(finished)
  assert (content["step"], content["checkpoint"]) == (4, ORACLE)
  assert (content["last"]["step"], content["last"]["checkpoint"]) == (8, "last")
  assert content["target"]["student"]["miou"] == 0.6
  assert content["last"]["source"]["teacher"]["miou"] == 0.5
  assert checkpoint.saved_steps(finished / "checkpoints") == [8] and kept_steps(finished) == [4]


def test_the_reported_checkpoint_is_the_one_that_is_used(finished, config, capsys, monkeypatch):
  _, state = training.trained(config, finished)
  assert int(state.step) == 4
  assert f"checkpoint: {ORACLE}, step 4" in capsys.readouterr().out
  model = run.load(finished)
  assert (model.step, model.checkpoint) == (4, ORACLE)
  model = run.load(finished, checkpoint="last")
  assert (model.step, model.checkpoint) == (8, "last")
  paths = training.export_weights(config, finished)
  assert [path.name for path in paths] == ["student.safetensors", "teacher.safetensors"]
  assert f"checkpoint: {ORACLE}, step 4\nstudent after 4 steps" in capsys.readouterr().out
  last = config.copy_and_resolve_references()
  last.report = "last"
  assert int(training.trained(last, finished)[1].step) == 8
  assert "checkpoint: last, step 8" in capsys.readouterr().out
  drawn = []
  monkeypatch.setattr(training.figures, "draw_at_end", lambda _, state, __: drawn.append(state))
  before = read_results(finished)
  assert training.evaluate(last, finished) == before["last"]
  assert training.evaluate(config, finished) == before
  assert [int(state.step) for state in drawn] == [8, 4]


def test_a_run_without_a_best_checkpoint_reports_its_last(finished, config, tmp_path, capsys):
  folder = shutil.copytree(finished, tmp_path / "run")
  shutil.rmtree(folder / "best_on_target")
  assert training.evaluate(config, folder)["step"] == 8
  assert "no evaluation was kept: the last one is reported" in capsys.readouterr().out
  assert run.load(folder).checkpoint == "last"
  with pytest.raises(ValueError, match="kept no best checkpoint; train with config.report"):
    run.load(folder, checkpoint="best_on_target")


@pytest.mark.parametrize(("carry", "step", "added"), (("weights", 0, 4), ("run", 8, 8)))
def test_a_later_stage_begins_with_the_reported_checkpoint(
  finished, config, capsys, carry, step, added
):
  stage = config.copy_and_resolve_references()
  stage.init_from, stage.init_carry = finished.name, carry
  exp = experiment.build(stage)
  state = start.initialise(exp, finished.parent / "second")
  assert int(state.step) == step
  np.testing.assert_array_equal(bias(state), bias(exp.initial_state()) + added)
  said = f"config.init_from = 'first': its checkpoint {ORACLE} of step 4"
  assert (said in capsys.readouterr().out) == (carry == "weights")


def test_tables_say_that_it_is_an_oracle(finished, config, capsys):
  content = read_results(finished)
  stages._show_side_by_side(config, {"first": content})
  out = " ".join(capsys.readouterr().out.split())
  assert f"IoU on target validation images, %; best = {ORACLE}" in out
  assert "mIoU 60.0 60.0 50.0 50.0" in out
  numbers = runs.read(finished, images_per_step=16)
  assert numbers.checkpoint == ORACLE and numbers.steps == (2, 4, 6, 8)
  assert (numbers.scores["student"]["miou"], numbers.miou["student"][-1]) == (0.6, 0.5)
  summary = comparison.summarise({"sepico": {0: numbers}})
  text = comparison.markdown(summary, title="A", num_steps=8, every=2)
  assert "| sepico ‡ |" in text and "‡ oracle: the checkpoint with the best mIoU" in text
  assert "Nothing was selected" not in text
  job_stage = sweep.Stage(config, finished)
  assert not sweep.is_done(job_stage)  # a kill kept its figures from being drawn
  state_files.write_json(finished / figures.DRAWN, {"step": content["step"]})
  assert sweep.is_done(job_stage)  # the last step counts, not the best


def test_labels_of_the_target_are_resized_before_counting(exp, monkeypatch):
  sizes = {}

  def note(learner, variables, examples, num_classes, **_):
    sizes.setdefault("all", []).append(examples[0]["label"].shape)
    return np.eye(num_classes, dtype=np.int64)

  config = exp[0].copy_and_resolve_references()
  config.eval.label_size = (8, 24)
  changed = dataclasses.replace(exp[1], settings=settings.from_config(config))
  monkeypatch.setattr(results.evaluation, "confusion_of", note)
  content = results._scores(changed, changed.initial_state(), {})
  assert sizes["all"] == [(8, 24)] * 2 + [(32, 48)] * 2  # target, then source; two networks each
  plain = results._scores(exp[1], changed.initial_state(), {})
  assert content["label_size"] == [8, 24] and "label_size" not in plain
  label = np.arange(16, dtype=np.uint8).reshape(4, 4)
  small = LabelsAt([{"label": label}], (2, 2))[0]["label"]
  expected = PIL.Image.fromarray(label).resize((2, 2), PIL.Image.Resampling.NEAREST)
  np.testing.assert_array_equal(small, np.asarray(expected))
  config.eval.label_size = (8,)
  with pytest.raises(ValueError, match=r"eval\.label_size = \(8,\) must be \(height, width\)"):
    settings.from_config(config)
