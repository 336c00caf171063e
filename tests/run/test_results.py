"""Scores on several sets, and prediction files, of a network that is not trained."""

import numpy as np
import pytest
import tiny_recipe

from jax_uda.data.datasets import image_files
from jax_uda.run import evaluation, experiment, results
from jax_uda.run.report import runs


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
