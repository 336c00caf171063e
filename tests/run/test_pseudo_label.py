"""The stages of SPCL in small: labels written between them, prototypes initialised, everything resumed."""

import json
import pathlib
import types

import flax.linen as nn
import jax
import numpy as np
import PIL.Image
import pytest
import tiny_recipe

from jax_uda.common import mesh
from jax_uda.data.pipeline import stored_labels
from jax_uda.ops import resize
from jax_uda.run import config as config_lib
from jax_uda.run import experiment, label_thresholds, pseudo_label, source_pass, stages, start
from jax_uda.run.settings import PseudoLabelSettings
from jax_uda.step.inference import Inference
from jax_uda.step.outputs import Outputs

DIM = 8


def spcl_config(data_dir: pathlib.Path):
  config = tiny_recipe.get_config(f"data_dir={data_dir},steps=1")
  config.data.rare_class = {}
  config.data.class_balanced = True
  config.data.crop_target = False
  config.model.decoder_options = dict(width=DIM)
  config.method = dict(name="source_only")
  config.ema = dict(decay=0.0, after_update=True, statistics=True)
  config.stages.labels = dict(task="pseudo_label", init_from="warm_up")
  contrast = dict(name="spcl_contrast", feature_dim=DIM, groups=4)
  data = dict(pseudo_labels="labels")
  config.stages.contrast = dict(init_from="warm_up", method=contrast, data=data)
  return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[config_lib.ConfigDict, pathlib.Path]:
  """The config and the folder of a recipe that ran to its end."""
  config = spcl_config(tmp_path_factory.mktemp("data"))
  workdir = tmp_path_factory.mktemp("runs") / "spcl"
  with start.open_checkpoints(workdir / "warm_up") as checkpoints:  # as if it had been trained
    checkpoints.save(experiment.build(config_lib.stage_config(config, "labels")).initial_state())
  stages.train(config, workdir)
  return config, workdir


def labels_in(folder: pathlib.Path) -> list[np.ndarray]:
  return [np.asarray(PIL.Image.open(path)) for path in sorted((folder / "labels").iterdir())]


def test_all_stages_run_and_the_labels_are_those_of_the_exact_rule(finished):
  config, workdir = finished
  assert (workdir / "contrast" / "results.json").is_file()
  stage = config_lib.stage_config(config, "labels")
  exp = experiment.build(stage)
  with start.open_checkpoints(workdir / "warm_up") as checkpoints:
    student = checkpoints.restore_part({"student": exp.initial_state().student})["student"]
  inference = Inference(align_corners=True)
  images = np.stack([example["image"] for example in exp.domains.target_train])
  label, confidence = exp.learner.predict(student, images, inference)
  thresholds = label_thresholds.median_thresholds(confidence, label, 11, cap=0.9)
  summary = json.loads((workdir / "labels" / "thresholds.json").read_text())
  np.testing.assert_allclose(list(summary["thresholds"].values()), thresholds)
  expected = label_thresholds.threshold_label(confidence, label, thresholds)
  np.testing.assert_array_equal(np.stack(labels_in(workdir / "labels")), expected)
  assert 0.3 < np.mean(expected != 255) < 0.8


class _Coarse(nn.Module):
  """Logits at a stride of 8 pixels."""

  def __call__(self, image, *, train, use_running_average, outputs):
    return Outputs(20 * image[:, ::8, ::8], (), None, {})


def test_logits_are_resized_once_to_the_size_of_the_labels():
  images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  keep = lambda variables, size, rows: size
  learner = types.SimpleNamespace(model=_Coarse(), mesh=mesh.data_mesh(1), canvas=keep)
  predict = pseudo_label._predictor(learner, {}, align_corners=True)
  label, confidence = predict(images, (48, 80))
  logits = 20 * images[:, ::8, ::8].astype(np.float32) / 255
  probability = jax.nn.softmax(resize.bilinear(logits, (48, 80), align_corners=True))
  np.testing.assert_allclose(confidence, probability.max(-1), rtol=1e-5)
  np.testing.assert_array_equal(label, probability.argmax(-1))


def test_a_finished_labelling_is_kept_and_a_broken_one_is_completed(finished):
  config, workdir = finished
  stage, folder = config_lib.stage_config(config, "labels"), workdir / "labels"
  before = labels_in(folder)
  gone = stored_labels.label_path(folder, 3)
  kept = stored_labels.label_path(folder, 4)
  gone.unlink()
  kept.write_bytes(stored_labels.label_path(folder, 5).read_bytes())  # not to be written again
  pseudo_label.write_stage(stage, folder)
  after = labels_in(folder)
  np.testing.assert_array_equal(after[3], before[3])
  np.testing.assert_array_equal(after[4], before[5])
  summary = stored_labels.read_summary(folder)
  (folder / "thresholds.json").write_text(json.dumps(summary | {"network": "another"}))
  pseudo_label.write_stage(stage, folder)
  np.testing.assert_array_equal(labels_in(folder), before)


def test_batches_bring_the_files_labels(finished):
  config, workdir = finished
  exp = experiment.build(config_lib.stage_config(config, "contrast"))
  batch = exp.training_batches(workdir)[0]["target"]
  images = [example["image"] for example in exp.domains.target_train]
  labels = labels_in(workdir / "labels")
  for image, label in zip(batch["image"], batch["label"], strict=True):
    mirrored = [(i, flip) for i in range(len(images)) for flip in (1, -1)
                if np.array_equal(images[i][:, ::flip], image)]  # fmt: skip
    assert any(np.array_equal(labels[i][:, ::flip], label) for i, flip in mirrored)


def test_the_pass_over_the_source_does_not_depend_on_the_batches(finished):
  config, _ = finished
  stage = config_lib.stage_config(config, "contrast")
  found = []
  for size in (1, 8):
    stage.unlock()
    stage.eval.batch_size = size
    exp = experiment.build(stage)
    state, source = exp.initial_state(), exp.domains.source_train
    state = source_pass.run(exp.learner, state, source, exp.settings.evaluation.batch_size)
    found.append(state.objective_state["similarity"])
  one, eight = found
  assert one.present.any() and one.prototypes.any()
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, eight)
  assert np.linalg.norm(one.prototypes, axis=-1).max() <= 1 + 1e-5


def test_a_stage_without_its_predecessor_is_refused_with_folder_and_stage(finished, tmp_path):
  config, workdir = finished
  stage = config_lib.stage_config(config, "labels")
  with pytest.raises(ValueError, match=r"init_from = 'warm_up' of the stage 'labels'.*warm_up"):
    pseudo_label.write_stage(stage, tmp_path / "labels")
  exp = experiment.build(config_lib.stage_config(config, "contrast"))
  with pytest.raises(ValueError, match="pseudo_labels = 'labels': no thresholds.json in .*labels"):
    exp.training_batches(tmp_path)
  gone = stored_labels.label_path(workdir / "labels", 2)
  content = gone.read_bytes()
  gone.unlink()
  with pytest.raises(ValueError, match="1 of 12 label maps are not yet in"):
    exp.training_batches(workdir)
  gone.write_bytes(content)


def test_a_histogram_is_within_a_bin_of_the_exact_thresholds(finished, tmp_path):
  config, _ = finished
  exp = experiment.build(config_lib.stage_config(config, "labels"))
  student = exp.initial_state().student
  exact, histogram = (
    pseudo_label.Labeller(
      predict=lambda images, size: exp.learner.predict(student, images, size=size),
      target=exp.domains.target_train,
      label_space=exp.domains.label_space,
      settings=PseudoLabelSettings(exact_pixels=pixels),
      batch_size=4,
    ).thresholds()
    for pixels in (10**6, 0)
  )
  for name, value in exact["thresholds"].items():
    assert 0 <= value - histogram["thresholds"][name] <= histogram["bin_width"] == 2**-16


def test_the_mode_labels_with_each_trained_run_of_a_recipe(finished):
  config, workdir = finished
  stages.pseudo_label(config, workdir)
  folder = workdir / "contrast" / "pseudo_labels"
  assert json.loads((folder / "thresholds.json").read_text())["run"] == "contrast"
  assert len(labels_in(folder)) == 12
