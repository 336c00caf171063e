"""Runs whose method compares with a frozen foundation model: its weights, and where they lie."""

import jax
import numpy as np
import pytest
import tiny_recipe

from jax_uda.common.registry import SettingError
from jax_uda.models import weights
from jax_uda.run import experiment, start
from jax_uda.run import settings as settings_lib
from jax_uda.step.shared import FOUNDATION

OPTIONS = dict(embed_dim=12, depth=1, num_heads=2, position_grid=2)
ENCODER = "dinov2_vits14_reg"


@pytest.fixture(scope="module")
def make_config(tmp_path_factory):
  data_dir = tmp_path_factory.mktemp("data")

  def make(file, **changes):
    config = tiny_recipe.get_config(f"data_dir={data_dir}")
    foundation = dict(encoder=ENCODER, options=OPTIONS, size=28, weights=str(file))
    config.method = dict(name="vfm_uda_plus", foundation=foundation)
    with config.unlocked():
      config.update(changes)
    return config

  return make


@pytest.fixture(scope="module")
def file(make_config, tmp_path_factory):
  """A weight file of the foundation model, under its official names."""
  exp = experiment.build(make_config("random"))
  shapes = exp.abstract_state().reference[FOUNDATION]
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda x: rng.normal(size=x.shape).astype("f"), shapes)
  path = tmp_path_factory.mktemp("weights") / "dinov2_reg.safetensors"
  weights.save(variables, path)
  return path, variables


def assert_equal(one, two):
  assert jax.tree.structure(one) == jax.tree.structure(two)
  jax.tree.map(np.testing.assert_array_equal, one, two)


def begin(config, workdir):
  exp = experiment.build(config)
  with start.open_checkpoints(workdir) as checkpoints:
    return exp, start.restore_or_initialise(exp, checkpoints, workdir)


def test_the_foundation_model_starts_from_its_file_and_lies_once_in_the_run(
  make_config, file, tmp_path, capsys
):
  path, variables = file
  workdir = tmp_path / "one"
  exp, state = begin(make_config(path), workdir)
  assert f"foundation model {ENCODER}: encoder from {path}" in capsys.readouterr().out
  assert_equal(jax.device_get(state.reference), {FOUNDATION: variables})
  for network in ("student", "teacher"):
    assert FOUNDATION not in state.variables(network)
    assert_equal(state.variables(network), getattr(state, network))
  with start.open_checkpoints(workdir) as checkpoints:
    checkpoints.save(state)
  size = lambda folder: sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
  assert size(workdir / "frozen") > 0
  with start.open_checkpoints(workdir) as checkpoints:
    restored = checkpoints.restore(exp.initial_state())
  assert_equal(jax.device_get(restored.reference), {FOUNDATION: variables})
  assert_equal(jax.device_get(restored.student), jax.device_get(state.student))
  # Another run that starts from this one has the foundation model of its file.
  _, other = begin(make_config(path, init_from="one"), tmp_path / "two")
  assert_equal(jax.device_get(other.reference), {FOUNDATION: variables})
  assert_equal(jax.device_get(other.student), jax.device_get(state.student))


def test_a_random_foundation_model_is_named(make_config, tmp_path, capsys):
  begin(make_config("random"), tmp_path)
  assert f"foundation model {ENCODER}: random" in capsys.readouterr().out


@pytest.mark.fast
@pytest.mark.parametrize(
  "weight, sentence",
  [
    ("", "method.foundation.weights is empty, but this method compares with a frozen"),
    ("/no/such.pth", "method.foundation.weights: .*there is no such weight file"),
  ],
)
def test_a_recipe_without_the_foundation_models_file_is_refused(
  make_config, tmp_path, weight, sentence
):
  with open(tmp_path / "w.safetensors", "wb") as net:
    net.write(b"")
  config = make_config(weight, init_required=True, init_weights=str(tmp_path / "w.safetensors"))
  with pytest.raises(SettingError, match=sentence):
    start.check(settings_lib.from_config(config), tmp_path / "run")


def test_a_file_of_another_network_is_refused_with_the_field(make_config, tmp_path):
  path = tmp_path / "other.safetensors"
  weights.save({"params": {"encoder": {"norm": {"bias": np.ones(3, np.float32)}}}}, path)
  with pytest.raises(SettingError, match="(?s)method.foundation.weights: .*missing"):
    begin(make_config(path), tmp_path / "run")


@pytest.mark.fast
@pytest.mark.parametrize(
  "changes, sentence",
  [
    ({"encoder": "mit_b0", "options": {}}, "'mit_b0' is no plain Vision Transformer"),
    ({"encoder": "dinov9"}, "dinov9.* is unknown"),
    ({"colour": 1}, "colour"),
  ],
)
def test_settings_of_the_foundation_model_are_checked(make_config, changes, sentence):
  config = make_config("random")
  with config.unlocked():
    config.method.foundation.update(changes)
  with pytest.raises(SettingError, match=sentence):
    experiment.build(config)
