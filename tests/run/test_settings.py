"""Settings of a run: plain values, made once from its config."""

import pytest
import tiny_recipe

from jax_uda.common import registry
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.run import settings as settings_lib

pytestmark = pytest.mark.fast


def config_with(**fields):
  config = tiny_recipe.get_config()
  config.unlock()
  for path, value in fields.items():
    *groups, field = path.split("__")
    group = config
    for name in groups:
      group = group[name]
    group[field] = value
  return config.lock()


def test_empty_fields_are_none():
  settings = settings_lib.from_config(config_with())
  assert settings.data.batches.target_scale is settings.data.batches.target_margins is None
  assert settings.data.pseudo_labels is settings.start.init_from is None
  assert settings.evaluation.every_steps is settings.figures.projection is None
  assert settings.evaluation.inference.window is settings.pseudo_label.label_size is None


def test_values_are_those_of_the_config():
  config = config_with(stop_step=3, eval__window=[16, 24], eval__stride=[8, 8])
  settings = settings_lib.from_config(config)
  assert settings.title == "dacs" and settings.end_step == 3 and settings.batch_size == 8
  assert settings.data.batches.crop_size == (32, 32)
  assert settings.data.batches.rare_class == RareClassSampling(
    temperature=0.1, min_pixels=4, crop_min_pixels=2
  )
  assert settings.evaluation.inference.window == (16, 24)
  assert settings.fields["data.crop_size"] == [32, 32]


def test_the_title_names_the_components_of_the_method():
  method = dict(name="dacs", also=dict(masked={}))
  assert settings_lib.from_config(config_with(method=method)).title == "dacs + masked"


def test_class_weights_are_for_the_target_alone():
  evaluation = settings_lib.from_config(config_with(eval__class_weights=(2.0,) * 11)).evaluation
  assert evaluation.inference_on("target").class_weights == (2.0,) * 11
  assert evaluation.inference_on("night").class_weights == ()


@pytest.mark.parametrize(
  "fields, message",
  [
    (dict(num_steps=0), "num_steps = 0 must be at least 1"),
    (dict(stop_step=9), "stop_step = 9 lies after the end, config.num_steps = 8"),
    (dict(eval__batch_size=0), "eval.batch_size = 0 must be at least 1"),
    (dict(eval__window=(8, 8)), "eval.window = (8, 8) and config.eval.stride = () must both be"),
    (dict(data__crop_size=(32,)), "data.crop_size = (32,) must be (height, width)"),
    (dict(pseudo_label__label_size=(3,)), "pseudo_label.label_size = (3,) must be (height, width)"),
    (dict(data__rare_class=dict(temperatur=1)), "data.rare_class has no field 'temperatur'"),
    (dict(projection="umap"), "projection = 'umap' is unknown"),
    (dict(init_carry="weight"), "init_carry = 'weight' is unknown. Did you mean 'weights'?"),
  ],
)
def test_a_field_that_cannot_be_used_is_named_by_its_path(fields, message):
  with pytest.raises(registry.SettingError) as error:
    settings_lib.from_config(config_with(**fields))
  assert str(error.value).startswith(message)
