"""The recipes of CamVid say the same as the demo's but for data and network; no photograph is needed."""

import importlib
import pathlib

import jax
import jax.numpy as jnp
import pytest

from jax_uda import methods, models
from jax_uda.run import config as config_lib
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.method import Task

ROOT = pathlib.Path(__file__).parents[2]
TASK = Task(11, (1 / 11,) * 11)


@pytest.fixture
def recipe(monkeypatch):
  monkeypatch.syspath_prepend(ROOT)
  return lambda name: importlib.import_module(f"configs.{name}")


@pytest.mark.parametrize("name", ["camvid_day_to_dusk", "street_to_camvid"])
def test_every_method_of_the_demo_has_its_stages_on_both_tasks(name, recipe):
  for method in recipe("demo").METHODS:
    config = recipe(name).get_config(f"method={method},seed=2")
    ours = [config_lib.stage_config(config, stage) for stage in config.stages]
    assert config.stages == recipe("demo").get_config(f"method={method}").stages
    assert {stage.seed for stage in ours} == {2}
    for stage in ours:
      models.build(num_classes=11, **stage.model)
      methods.build(TASK, **stage.method)
      assert bool(stage.init_weights) == (stage.model.encoder == "efficientnet_lite0")
      if "feature_dim" in stage.method:
        assert stage.method.feature_dim == stage.model.decoder_options.width


def trace(config) -> None:
  """The training step once all its terms have started, without computing anything."""
  schedule = lambda step: 1e-3
  method = methods.build(TASK, **config.method)
  heads = {name: head(dtype=jnp.float32) for name, head in method.heads.items()}
  model = models.build(num_classes=11, heads=heads, **config.model)
  player = method.auxiliary(schedule) if method.auxiliary else None
  built = optimizer.build(schedule, start_steps=method.start_steps)
  step = train_step.make_train_step(
    model,
    method,
    built,
    teacher_rule=teacher.Rule(0.99),
    auxiliary=player,
    phase=method.phases[-1],
  )
  size = tuple(config.data.crop_size)
  create = lambda: state.create(model, method, built, image_size=size, seed=0, auxiliary=player)
  pixels = lambda *more: jax.ShapeDtypeStruct((config.batch_size, *size, *more), jnp.uint8)
  batch = {"source": {"image": pixels(3), "label": pixels()}, "target": {"image": pixels(3)}}
  jax.eval_shape(step, jax.eval_shape(create), batch)


def check_network(recipe, method):
  config = recipe("camvid_day_to_dusk").get_config(f"method={method}")
  trace(config_lib.stage_config(config, method))


def test_the_network_fits_the_regions_of_rccr(recipe):
  check_network(recipe, "rccr")


@pytest.mark.long
def test_the_network_fits_every_method(recipe):
  for method in recipe("demo").METHODS:
    check_network(recipe, method)


def test_an_unknown_method_is_refused_with_the_known_ones(recipe):
  with pytest.raises(ValueError, match=r"method = 'sepiko' is unknown.*sepico"):
    recipe("street_to_camvid").get_config("method=sepiko")


def test_scores_are_of_unseen_frames_where_the_folder_has_them(recipe, tmp_path):
  splits = lambda name, path=tmp_path: [
    recipe(name).get_config(f"path={path}").data.target[split] for split in ("train", "val")
  ]
  dusk, photographs = ("train/0001TP",), ("train",)
  assert splits("camvid_day_to_dusk") == [dusk, dusk]
  assert splits("street_to_camvid") == [photographs, ("val",)]
  (tmp_path / "test").mkdir()
  assert splits("camvid_day_to_dusk") == [dusk, ("test/0001TP",)]
  assert splits("street_to_camvid") == [photographs, ("test",)]
  assert splits("street_to_camvid", f"{tmp_path},test=no") == [photographs, ("val",)]
  gone = tmp_path / "gone"
  assert splits("street_to_camvid", gone) == [photographs, ("test",)]
  assert splits("camvid_day_to_dusk", f"{gone},test=no") == [dusk, dusk]
  with pytest.raises(ValueError, match=r"test = 'maybe' is unknown.*no, yes"):
    splits("street_to_camvid", f"{gone},test=maybe")
