"""Scores on several sets, and prediction files, of a network that is not trained."""

import json

import numpy as np
import pytest
import tiny_recipe

from jax_uda.data.datasets import image_files
from jax_uda.run import evaluation, experiment, image_progress, results, stages
from jax_uda.run.report import comparison, figures, runs
from jax_uda.step.method import with_unit_images
from jax_uda.views import self_training


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("data")

  def make(**evaluation):
    config = tiny_recipe.get_config(f"data_dir={data_dir},method=source_only")
    config.eval.update(evaluation)
    config.panel_images = config.eval.batch_size  # one shape, one compilation
    return config

  return make


def streets(**changes):
  return dict(tiny_recipe.get_config().data.target) | changes


def test_further_targets_are_scored_with_flips_and_scales_and_reported(
  make_config, tmp_path, capsys
):
  night = streets(domain="night", num_train=1)
  targets = {"night": night, "dusk_again": streets()}
  exp = experiment.build(make_config(targets=targets, flip=True))
  state = exp.initial_state()
  scores = results.write(exp, state, tmp_path)
  assert list(scores) == ["step", "checkpoint", "target", "dusk_again", "night", "source"]
  assert scores["dusk_again"] == scores["target"] != scores["night"]
  assert runs.read_results(tmp_path) == scores
  alone = evaluation.evaluate(
    exp.learner,
    state.student,
    exp.domains.source_val,
    inference=exp.settings.evaluation.inference_on("source"),
    batch_size=4,
  )
  assert alone["miou"] == scores["source"]["student"]["miou"] and list(alone["iou"])[10] == "10"
  capsys.readouterr()
  results.report_midway(exp, state, None, tmp_path)
  assert "mIoU on night, %: student" in capsys.readouterr().out


def test_one_network_without_the_source_is_scored_and_drawn_and_compared(
  make_config, tmp_path, capsys
):
  exp = experiment.build(make_config(networks=("student",), source=False, batch_size=1))
  state = exp.initial_state()
  scores = results.write(exp, state, tmp_path)
  assert list(scores) == ["step", "checkpoint", "target"] and list(scores["target"]) == ["student"]
  (tmp_path / "metrics.jsonl").write_text(json.dumps({"step": 0, "target_miou/student": 0.25}))
  run = runs.read(tmp_path, images_per_step=2)
  assert run.miou["student"] == (0.25, scores["target"]["student"]["miou"])
  assert np.isnan(run.miou["teacher"]).all() and np.isnan(run.scores["teacher"]["miou"])
  assert run.scores["teacher"]["iou"].keys() == run.scores["student"]["iou"].keys()
  summary = comparison.summarise({"source_only": {0: run}})["source_only"]
  assert summary["miou"]["teacher"]["mean"] is None != summary["miou"]["student"]["mean"]
  stages._show_side_by_side(make_config(), {"run": scores})
  batch, ground_truth = figures.validation_batch(exp)
  view = {"source": self_training.source_view(with_unit_images(batch))}
  columns = figures.panel_columns(exp, state, batch, view, ground_truth)
  assert "student's prediction" in columns and "teacher's prediction" not in columns
  results.report_midway(exp, state, None, tmp_path)
  assert "teacher" not in capsys.readouterr().out.rpartition("step 0")[2], "by default"


def test_a_long_pass_is_announced_once_its_pace_is_known(monkeypatch, capsys):
  clock = iter(range(100, 200, 5))
  monkeypatch.setattr(image_progress.time, "perf_counter", lambda: next(clock))
  with image_progress.Progress(1000, "evaluation") as progress:
    for _ in range(8):
      progress.add(2)
  assert capsys.readouterr().out == "evaluation: 1000 images, about 14 min at 0.83 s per image\n"


def test_class_weights_are_for_the_target_alone(make_config):
  favourite = (1e-9,) * 10 + (1.0,)
  exp = experiment.build(make_config(targets={"again": streets()}, class_weights=favourite))
  state = exp.initial_state()
  target, again = (results.count(exp, state, name)["student"] for name in ("target", "again"))
  assert target[:, :10].sum() == 0 < again[:, :10].sum()


def test_class_weights_of_another_number_of_classes_are_explained(make_config):
  with pytest.raises(ValueError, match=r"config\.eval\.class_weights = .* must be 11 factors"):
    experiment.build(make_config(class_weights=(1.0,) * 19))


@pytest.mark.parametrize(
  "targets, message",
  (
    ({"source": streets()}, r"config\.eval\.targets\.source: the name is taken"),
    ({"night": streets(domain="fog")}, r"config\.eval\.targets\.night\.domain = 'fog'"),
    ({"night": {}}, r"config\.eval\.targets\.night\.name = ''"),
  ),
)
def test_mistakes_in_further_targets_are_explained_before_training(make_config, targets, message):
  with pytest.raises(ValueError, match=message):
    experiment.build(make_config(targets=targets))


def test_a_further_target_of_other_classes_is_an_error(make_config, tmp_path):
  (tmp_path / "images").mkdir()
  (tmp_path / "images" / "a.png").write_bytes(image_files.encode_png(np.zeros((8, 8, 3), np.uint8)))
  mine = dict(name="folders", path=str(tmp_path), train=("images",), val=("images",))
  with pytest.raises(ValueError, match=r"config\.eval\.targets\.mine has the classes of a, b"):
    experiment.build(make_config(targets={"mine": mine | dict(classes=("a", "b"))}))
