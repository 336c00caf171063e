"""The network of a run, loaded without its training data."""

import json
import pathlib
import re
import shutil

import numpy as np
import PIL.Image
import pytest
import tiny_recipe

import jax_uda as uda
from jax_uda import run
from jax_uda.common import mesh as mesh_lib
from jax_uda.data.datasets import image_files
from jax_uda.run import classes_file, experiment, export, load_model, predict, record, start


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A recipe's workdir with a stage that looks trained, its experiment and its state."""
  config = tiny_recipe.get_config(f"data_dir={tmp_path_factory.mktemp('data')}")
  config.method = dict(name="sepico", embedding_dim=8, crop_target=False)
  config.eval.update(flip=True, window=(32, 32), stride=(16, 16))
  exp = experiment.build(config)
  state = exp.initial_state()
  state = state.replace(step=state.step + 8)
  workdir = tmp_path_factory.mktemp("runs") / "recipe"
  folder = workdir / "adapted"
  with start.open_checkpoints(folder) as checkpoints:
    checkpoints.save(state)
  record.write(config, folder, state.student["params"], exp.domains)
  shutil.rmtree(config.data.dir)  # training data are not needed
  return workdir, exp, state


def images(*shape):
  return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("network", ["student", "teacher"])
def test_a_run_is_loaded_and_predicts_as_it_was_evaluated(network, finished):
  workdir, exp, state = finished
  model = run.load(workdir, network=network)
  assert model.classes.names == exp.domains.label_space.names and model.step == 8
  np.testing.assert_array_equal(model.classes.palette, exp.domains.label_space.palette)
  assert model.inference == exp.settings.evaluation.inference
  batch = images(3, 32, 48, 3)
  labels, confidence = model.predict(batch)
  variables = getattr(state, network)
  expected = exp.learner.predict(variables, batch, exp.settings.evaluation.inference)
  assert (labels == expected.label).mean() > 0.999
  np.testing.assert_allclose(confidence, expected.confidence, atol=1e-5)


def test_the_lines_of_the_readme_predict(finished):
  readme = (pathlib.Path(__file__).parents[2] / "README.md").read_text()
  (code,) = (
    code for code in re.findall(r"```python\n(.*?)```", readme, re.S) if "uda.load" in code
  )
  names = dict(uda=uda, images=images(2, 32, 48, 3))
  exec(code.replace("runs/demo/self_training", str(finished[0])), names)
  assert names["labels"].shape == names["confidence"].shape == (2, 32, 48)


def test_a_list_of_images_of_any_sizes_gives_lists_of_their_sizes(finished):
  model = run.load(finished[0] / "adapted", mesh=mesh_lib.data_mesh(2))
  sizes = [(32, 48), (64, 96), (50, 31)]
  labels, confidences = model.predict([images(*size, 3) for size in sizes])
  assert [label.shape for label in labels] == sizes
  assert [confidence.shape for confidence in confidences] == sizes
  assert all(label.dtype == np.uint8 and label.max() < 11 for label in labels)
  assert all(c.min() > 0 and c.max() <= 1 for c in confidences)


def test_what_is_no_image_and_no_run_is_explained(finished, tmp_path):
  with pytest.raises(ValueError, match="no run with checkpoints in .*; train there first"):
    run.load(tmp_path)
  model = run.load(finished[0])
  with pytest.raises(ValueError, match=r"must be uint8 \[B,H,W,3\].*not float32 \[1, 32, 48, 3\]"):
    model.predict(images(1, 32, 48, 3).astype(np.float32))
  with pytest.raises(ValueError, match=r"must be uint8 \[H,W,3\].*not uint8 \[32, 48\]"):
    model.predict([images(32, 48)])


def test_a_run_of_an_earlier_version_takes_its_classes_from_the_config(finished, tmp_path):
  folder = shutil.copytree(finished[0] / "adapted", tmp_path / "run")
  (folder / classes_file.FILE).unlink()
  model = run.load(folder)
  assert model.classes.names == finished[1].domains.label_space.names
  assert model.predict(images(1, 40, 48, 3)).label.shape == (1, 40, 48)


def test_a_run_predicts_files_and_its_exported_file_is_alike(finished, tmp_path):
  workdir, exp, _ = finished
  (tmp_path / "a.png").write_bytes(image_files.encode_png(images(32, 48, 3)))
  model = run.load(
    workdir, stage="adapted", evaluation={"flip": "false", "window": "()", "stride": "()"}
  )
  assert model.folder == workdir / "adapted" and model.reading == exp.domains.reading
  assert not model.inference.flip and model.batch_size == exp.settings.evaluation.batch_size
  file = export.write_weights(model, tmp_path / "exported")
  shutil.rmtree(workdir / "adapted" / "predictions", ignore_errors=True)
  written = predict.write_of_model(model, predict.Request(str(tmp_path / "a.png")))
  assert written == workdir / "adapted" / "predictions" / "student"
  label = PIL.Image.open(written / "a.png")
  np.testing.assert_array_equal(label, run.load(file)(tmp_path / "a.png").label)


def test_what_a_run_does_not_have_is_explained(finished):
  for settings, sentence in (
    (dict(stage="adaptd"), "stage = 'adaptd' is no trained stage in .*Stages there: adapted"),
    (dict(evaluation={"flop": "true"}), r"config\.eval\.flop .*Did you mean 'flip'"),
    (dict(evaluation={"flip": "maybe"}), r"config\.eval\.flip = 'maybe' must be of type bool"),
    (dict(checkpoint="best_on_target"), "kept no best checkpoint"),
  ):
    with pytest.raises(ValueError, match=sentence):
      run.load(finished[0], **settings)


def test_a_copied_recipe_knows_its_last_stage(tmp_path):
  for name in ("b_warm_up", "a_last", "c_baseline"):
    (tmp_path / name / "checkpoints" / "8").mkdir(parents=True)
    (tmp_path / name / "checkpoints" / "8" / "_CHECKPOINT_METADATA").write_text("{}")
    method = "dacs" if name == "a_last" else "source_only"
    text = {"init_from": "" if name == "b_warm_up" else "b_warm_up", "method": {"name": method}}
    (tmp_path / name / "config.json").write_text(json.dumps(text))
  assert load_model.run_folder(tmp_path) == tmp_path / "a_last", "the others adapt nothing"
  stages = {name: {} for name in ("b_warm_up", "a_last", "c_baseline", "not_yet")}
  (tmp_path / "recipe.json").write_text(json.dumps({"stages": stages}))
  assert load_model.run_folder(tmp_path) == tmp_path / "c_baseline", "the recipe has an order"


def test_the_stage_that_no_other_continues_is_the_last(tmp_path):
  for name, predecessor in (("warm_up", ""), ("adapted", "warm_up"), ("half", "warm_up")):
    (tmp_path / name / "checkpoints" / "8").mkdir(parents=True)
    (tmp_path / name / "checkpoints" / "8" / "_CHECKPOINT_METADATA").write_text("{}")
    (tmp_path / name / "config.json").write_text(json.dumps({"init_from": predecessor}))
  (tmp_path / "half" / "checkpoints" / "8" / "_CHECKPOINT_METADATA").unlink()
  (tmp_path / "half" / "checkpoints" / "8").rmdir()
  assert load_model.run_folder(tmp_path) == tmp_path / "adapted"
