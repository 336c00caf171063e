"""The recipes of CamVid say the same as the demo's but for data and network; no photograph is needed."""

import jax
import jax.numpy as jnp
import pytest

from jax_uda import methods, models
from jax_uda.run import config as config_lib
from jax_uda.run import recipes
from jax_uda.step.learner import Learner
from jax_uda.step.method import Task

TASK = Task(11, (1 / 11,) * 11)


def methods_of_the_demo():
  recipes.package()
  from jax_uda.recipes import demo

  return list(demo.METHODS)


@pytest.mark.parametrize("name", ["camvid_day_to_dusk", "street_to_camvid"])
def test_every_method_of_the_demo_has_its_stages_on_both_tasks(name):
  for method in methods_of_the_demo():
    config = recipes.load(f"{name}:method={method},seed=2")
    stages = config_lib.stage_configs(config).values()
    assert list(config.stages) == list(recipes.load(f"demo:method={method}").stages)
    assert {stage.seed for stage in stages} == {2}
    for stage in stages:
      models.build(num_classes=11, **stage.model)
      methods.build(TASK, **stage.method)
      assert bool(stage.init_weights) == (stage.model.encoder == "efficientnet_lite0")
      if "feature_dim" in stage.method:
        assert stage.method.feature_dim == stage.model.decoder_options.width


def check_network(name: str) -> None:
  """Traces the training step once all its terms have started, without computing anything."""
  config = recipes.load(f"camvid_day_to_dusk:method={name}")
  config = config_lib.stage_config(config, name)
  method = methods.build(TASK, **config.method)
  model = models.build(num_classes=11, **config.model)
  learner = Learner(model, method, schedule=lambda step: 1e-3)
  size = tuple(config.data.crop_size)
  pixels = lambda *more: jax.ShapeDtypeStruct((config.batch_size, *size, *more), jnp.uint8)
  batch = {"source": {"image": pixels(3), "label": pixels()}, "target": {"image": pixels(3)}}
  step = learner.step_of(max(learner.method.phases))
  step.eval_shape(learner.abstract_state(size), batch)


def test_the_network_fits_the_regions_of_rccr():
  check_network("rccr")


@pytest.mark.long
def test_the_network_fits_every_method():
  for method in methods_of_the_demo():
    check_network(method)


def test_an_unknown_method_is_refused_with_the_known_ones():
  with pytest.raises(ValueError, match=r"method = 'sepiko' is unknown.*sepico"):
    recipes.load("street_to_camvid:method=sepiko")


def test_scores_are_of_unseen_frames_where_the_folder_has_them(tmp_path):
  splits = lambda name, path=tmp_path: [
    recipes.load(f"{name}:path={path}").data.target[split] for split in ("train", "val")
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
