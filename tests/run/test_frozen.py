"""A run on a frozen encoder with an adapter: checkpoints, continuation, prediction, export."""

import shutil

import damage
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_recipe

from jax_uda import run
from jax_uda.models import weights
from jax_uda.run import best_checkpoint, checkpoint, experiment, start, training
from jax_uda.run import frozen as frozen_lib
from jax_uda.step import optimizer

MODEL = dict(
  encoder="dinov3_vits16",
  decoder="light",
  encoder_options=dict(embed_dim=8, depth=1, num_heads=2),
  decoder_options=dict(width=8),
)


@pytest.fixture(scope="module")
def base_file(tmp_path_factory):
  """Weights of the encoder alone, without an adapter."""
  config = tiny_recipe.get_config(f"data_dir={tmp_path_factory.mktemp('base')}")
  config.model = MODEL
  variables = experiment.build(config).abstract_state().student
  draw = np.random.default_rng(0).normal
  encoder = jax.tree.map(
    lambda x: 0.2 * draw(size=x.shape).astype("f"), variables["params"]["encoder"]
  )
  path = tmp_path_factory.mktemp("base") / "base.safetensors"
  weights.save({"params": {"encoder": encoder}}, path)
  return path


@pytest.fixture(scope="module")
def make_config(tmp_path_factory, base_file):
  data_dir = tmp_path_factory.mktemp("data")

  def make(**changes):
    config = tiny_recipe.get_config(f"data_dir={data_dir},steps=4,method=source_only")
    config.model = MODEL | {"adapter": dict(name="lora", rank=2)}
    config.checkpoint.every_steps, config.panel_images = 2, 0
    config.init_weights = str(base_file)
    config.update(changes)
    return config

  return make


@pytest.fixture(scope="module")
def finished(make_config, tmp_path_factory):
  """The config, the folder and the final state of a run."""
  workdir = tmp_path_factory.mktemp("runs") / "night"
  training.train(make_config(), workdir)
  return make_config(), workdir, state_of(make_config(), workdir)


def state_of(config, workdir):
  exp = experiment.build(config)
  with start.open_checkpoints(workdir) as checkpoints:
    return checkpoints.restore(exp.initial_state())


def assert_equal(one, two):
  jax.tree.map(np.testing.assert_array_equal, jax.device_get(one), jax.device_get(two))


def networks(state):
  return state.variables("student"), state.variables("teacher"), state.opt_state


def test_checkpoints_hold_what_trains_and_the_encoder_lies_beside_them(finished, base_file):
  _, workdir, state = finished
  assert start.has_checkpoints(workdir)
  base = {"params": {"encoder": state.reference["params"]["encoder"]}}
  assert_equal(weights.to_torch(base), weights.read(base_file).tensors)
  folder = workdir / "checkpoints"
  with checkpoint.Checkpoints(folder) as plain, start.open_checkpoints(workdir) as both:
    whole = {"student": state.variables("student")}
    _, missing = plain.restore_shared(whole)
    assert missing and all("student/params/encoder/" in name for name in missing)
    restored, missing = both.restore_shared(whole)
    assert not missing
    assert_equal(restored, whole)
    assert_equal(both.restore_part(whole), whole)
  assert (workdir / frozen_lib.FOLDER).is_dir()


def test_a_continued_run_is_the_same(finished, tmp_path):
  config, workdir, state = finished
  copied = tmp_path / "night"
  shutil.copytree(workdir, copied)
  shutil.rmtree(copied / "checkpoints" / "4")
  training.train(config, copied)
  assert_equal(networks(state_of(config, copied)), networks(state))


def test_a_run_without_its_frozen_encoder_is_not_continued(finished, tmp_path):
  config, workdir, _ = finished
  copied = tmp_path / "night"
  shutil.copytree(workdir, copied)
  for file in (copied / frozen_lib.FOLDER / "0" / "default").rglob("*"):
    if file.is_file():
      damage.truncate(file, seed=0)
  with pytest.raises(
    checkpoint.CheckpointError, match="checkpoint of step 0 in .*frozen .*damaged"
  ):
    state_of(config, copied)
  shutil.rmtree(copied / frozen_lib.FOLDER)
  with pytest.raises(checkpoint.CheckpointError, match="no checkpoint in .*frozen"):
    state_of(config, copied)
  assert not (copied / frozen_lib.FOLDER).exists()  # to look for it makes nothing


def test_the_best_checkpoint_needs_the_same_frozen_encoder(finished, tmp_path):
  config, workdir, state = finished
  copied = tmp_path / "night"
  shutil.copytree(workdir, copied)
  moved = state.replace(step=state.step - 1, student=jax.tree.map(lambda x: x + 1, state.student))
  best_checkpoint.keep(copied, moved, {"student": 0.5})
  best_checkpoint.keep(copied, state, {"student": 0.4})  # is no better
  assert not list(copied.glob("best_on_target/**/frozen"))
  assert_equal(
    networks(best_checkpoint.restore(state, copied, best_checkpoint.BEST)), networks(moved)
  )
  trained = run.load(copied, network="teacher", checkpoint="best_on_target")
  assert_equal(trained.variables, moved.variables("teacher"))
  assert trained.step == int(state.step) - 1


def test_a_new_run_in_an_old_folder_saves_its_own_frozen_encoder(finished, tmp_path):
  _, workdir, state = finished
  shutil.copytree(workdir / frozen_lib.FOLDER, tmp_path / frozen_lib.FOLDER)
  other = state.replace(reference=jax.tree.map(lambda x: x + 1, state.reference))
  with start.open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save(other)
    checkpoints.wait()
    assert_equal(checkpoints.restore(other).reference, other.reference)
  error = pytest.raises(checkpoint.CheckpointError, match="frozen holds another encoder")
  with start.open_checkpoints(tmp_path) as checkpoints, error:
    checkpoints.save(state.replace(step=state.step + 1))


def test_frozen_norms_are_found_in_their_other_place(finished, tmp_path):
  state = finished[-1]
  norm = {"encoder": {"bn": {"scale": state.step + 3.0}}}
  with start.open_checkpoints(tmp_path) as checkpoints:
    checkpoints.save(state.replace(reference={"batch_stats": norm}))
  template = {"student": {"params": jax.tree.map(jnp.zeros_like, norm)}}
  with start.read_checkpoints(tmp_path) as checkpoints:
    restored, missing = checkpoints.restore_shared(template, start._other_collection)
  assert not missing
  assert_equal(restored, {"student": {"params": norm}})


def test_the_run_predicts_and_its_export_needs_no_adapter(finished):
  config, workdir, state = finished
  trained = run.load(workdir)
  assert_equal(trained.variables, state.variables("student"))
  paths = training.export_weights(config, workdir)
  tensors = weights.read(paths[0]).tensors
  assert not any("lora" in name for name in tensors)
  config = tiny_recipe.get_config(f"data_dir={config.data.dir}")
  config.model = MODEL
  exp = experiment.build(config)
  plain, loaded = weights.load(exp.abstract_state().student, paths[0])
  assert not loaded.untouched
  images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8)
  expected = trained.predict(images)
  merged = exp.learner.predict(plain, images)
  np.testing.assert_allclose(merged.confidence, expected.confidence, atol=1e-5)


def test_another_stage_starts_from_the_run(finished, make_config, capsys):
  _, workdir, state = finished
  (workdir.parent / "next").mkdir()
  config = make_config(init_from="night")
  started = start.initialise(experiment.build(config), workdir.parent / "next")
  assert_equal(started.variables("student"), state.variables("student"))
  assert_equal(started.teacher, started.student)
  continued = make_config(init_from="night", init_carry="run")
  started = start.initialise(experiment.build(continued), workdir.parent / "next")
  assert_equal(networks(started), networks(state))
  config.model = MODEL | {"adapter": dict(name="rein", tokens=3, rank=2)}
  config.init_weights = ""
  started = start.initialise(experiment.build(config), workdir.parent / "next")
  assert "a new adapter, not in" in capsys.readouterr().out
  assert_equal(started.reference, state.reference)


def test_an_adapter_learns_as_the_decoder_and_does_not_decay(make_config):
  exp = experiment.build(make_config())
  (group,) = exp.parameter_groups[1:]
  assert (group.learning_rate, group.weight_decay) == (2.0, 0.0)
  model = MODEL | {"adapter": dict(name="rein", tokens=3, rank=2)}
  groups = experiment.build(make_config(model=model)).parameter_groups
  at = lambda name: optimizer.group_of(f"encoder/reins/{name}", groups)[1:3]
  assert at("learnable_tokens_a") == at("factor") == (2.0, 0.0)
  assert at("mlp_delta_f/kernel") == (2.0, 1.0)
