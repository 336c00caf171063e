"""The fields of a run: stages, texts from the command line, arguments, differences."""

import copy
import types

import numpy as np
import pytest
from ml_collections import ConfigDict

from jax_uda.common import platform, registry
from jax_uda.common.registry import SettingError
from jax_uda.run import arguments, changes, config_diff
from jax_uda.run import config as config_lib

pytestmark = pytest.mark.fast


def test_a_stage_changes_the_fields_that_it_names_at_any_depth():
  config = config_lib.default()
  config.model = dict(encoder="mit_b5", decoder="light", decoder_options=dict(width=8, dtype="a"))
  config.stages.one = dict(
    data=dict(flip=False),
    eval=dict(scales=(0.5,)),
    ema=dict(after_update=True),
    model=dict(decoder_options=dict(width=16)),
  )
  config.data.dir = "elsewhere"  # as from the command line, after the recipe
  one = config_lib.stage_config(config, "one")
  assert (one.data.dir, one.data.flip, one.eval.scales) == ("elsewhere", False, (0.5,))
  assert one.ema.to_dict() == {"decay": 0.999, "after_update": True}
  assert one.model.encoder == "mit_b5"
  assert one.model.decoder_options.to_dict() == {"width": 16, "dtype": "a"}
  assert not one.stages and config.model.decoder_options.width == 8
  config.stages.one.data["flop"] = True
  with pytest.raises(
    SettingError, match=r"config\.stages\.one\.data\.flop replaces no field.*'flip'"
  ):
    config_lib.stage_config(config, "one")


def test_a_stage_can_replace_a_group():
  config = config_lib.default()
  config.method = dict(name="dacs", self_training=dict(pseudo_threshold=0.5))
  config.data.rare_class = dict(temperature=0.1)
  config.stages.first = dict(
    stop_step=7,
    method=changes.replace(name="source_only"),
    data=dict(rare_class=changes.replace()),
  )
  stage = config_lib.stage_config(config, "first")
  assert stage.stop_step == 7 and stage.method.to_dict() == {"name": "source_only"}
  assert not stage.data.rare_class and stage.data.flip
  assert stage.batch_size == config.batch_size


@pytest.mark.parametrize(
  "wrong, message",
  [
    (dict(batchsize=3), "config.stages.first.batchsize replaces no field.*'batch_size'"),
    (dict(batch_size="three"), "config.stages.first.batch_size = 'three' must be of type int"),
    (dict(seed=dict(a=1)), "config.stages.first.seed = .* must be one value"),
  ],
)
def test_a_stage_changes_no_field_that_the_config_does_not_have(wrong, message):
  config = config_lib.default()
  config.stages.first = wrong
  with pytest.raises(SettingError, match=message):
    config_lib.stage_config(config, "first")
  with pytest.raises(SettingError, match=r"config\.stages = 'frist' is unknown.*'first'"):
    config_lib.stage_config(config, "frist")


def test_stages_keep_their_order_also_in_copies():
  config = config_lib.default()
  for name in ("warm_up", "labels", "adapted"):
    config.stages[name] = {}
  assert list(config_lib.stage_configs(config.copy_and_resolve_references())) == [
    *("warm_up", "labels", "adapted")
  ]
  with pytest.raises(TypeError):
    config.stages = {"z": {}, "a": {}}  # a plain dict would be sorted


TEXTS = {
  "num_steps=7": 7,
  "data.flip=false": False,
  "ema.decay=1": 1.0,
  "eval.scales=(0.5, 1)": (0.5, 1),
  "eval.scales=0.5": (0.5,),
  "eval.class_weights=()": (),
  "data.dir=3": "3",
  "data.source.domain=dusk": "dusk",
  "model.encoder_options.remat=True": True,
  "model.hrda.crop_size=(64, 64)": (64, 64),
  "method.also.masked.block=16": 16,
  "method.self_training.pseudo_threshold=0.5": 0.5,
  "data.rare_class={'temperature': 0.1}": ConfigDict({"temperature": 0.1}),
  "optimizer.groups[0].learning_rate=3": 3.0,
  "optimizer.groups.1.pattern=bias": "bias",
}


@pytest.mark.parametrize("text", TEXTS)
def test_any_field_can_be_set_by_a_text(text):
  config = config_lib.default()
  field, _, value = text.partition("=")
  changes.set_from_text(config, field, value, accepts=config_lib.may_add)
  result = config
  for name in changes.split(field):
    result = result[int(name)] if isinstance(result, tuple) else result[name]
  assert result == TEXTS[text] and type(result) is type(TEXTS[text])


@pytest.mark.parametrize(
  "text, message",
  [
    ("batchsize=3", "batchsize is no field of the config. Did you mean 'batch_size'"),
    ("data.dyr=x", r"data\.dyr is no field of the config. Did you mean 'dir'"),
    ("num_steps=many", "num_steps = 'many' must be of type int"),
    ("data.flip=perhaps", "must be of type bool"),
    ("model=mit_b5", "model = 'mit_b5' must be a group"),
    ("seed.x=1", "seed.x is no field: seed = 0 has none"),
    ("optimizer.groups[7].x=1", r"optimizer\.groups\.7 is no item: .* items 0 to 1"),
  ],
)
def test_a_text_that_fits_no_field_is_refused(text, message):
  field, _, value = text.partition("=")
  with pytest.raises(SettingError, match=message):
    changes.set_from_text(config_lib.default(), field, value, accepts=config_lib.may_add)


def test_a_field_that_others_follow_is_set_in_all_of_them():
  config = config_lib.default()
  config.method.ramp_steps = config.get_ref("num_steps")
  changes.set_from_text(config, "num_steps", "9", accepts=config_lib.may_add)
  assert config.method.ramp_steps == 9


def test_arguments_take_the_type_of_their_default():
  arg = arguments.parse("seed=3,smoke", seed=0, smoke=False, target="dusk")
  assert dict(arg) == {"seed": 3, "smoke": True, "target": "dusk"}


@pytest.mark.parametrize(
  "text, message",
  [("sead=3", "Did you mean 'seed'"), ("seed=x", "not of type int"), ("target", "needs a value")],
)
def test_a_wrong_argument_is_an_error_that_helps(text, message):
  with pytest.raises(ValueError, match=message):
    arguments.parse(text, seed=0, target="dusk")


def test_differences_name_the_fields_that_decide_the_parameters():
  old, new = config_lib.default(), config_lib.default()
  new.schedule.learning_rate = 1.0
  new.log_every_steps = 7
  new.eval.every_steps = 1
  new.method = {"name": "dacs", "pseudo_threshold": 0.5}
  differences = config_diff.differences(config_diff.to_plain(old), config_diff.to_plain(new))
  assert differences == [
    "config.method.name: 'daformer' there, 'dacs' here",
    "config.method.pseudo_threshold: nothing there, 0.5 here",
    "config.schedule.learning_rate: 6e-05 there, 1.0 here",
  ]


def test_an_automatic_dtype_is_the_one_that_this_machine_takes():
  auto, single, low = ({"compute_dtype": name} for name in ("auto", "float32", "bfloat16"))
  for kind, same, other in (("cpu", single, low), ("gpu", low, single)):
    mesh = types.SimpleNamespace(devices=np.array([types.SimpleNamespace(platform=kind)]))
    with platform.traced_for(mesh):
      assert not config_diff.differences(same, auto) and not config_diff.differences(auto, same)
      assert config_diff.differences(other, auto)


def test_a_part_of_a_method_without_settings_makes_a_difference():
  differ = lambda *also: config_diff.differences(*({"method": {"also": parts}} for parts in also))
  assert differ({}, {"masked": {}}) == ["config.method.also.masked: nothing there, {} here"]
  assert len(differ({"pixel_contrasted": {}}, {"masked": {}})) == 2
  assert not differ({"masked": {}}, {"masked": {}})


def test_a_misspelt_key_of_a_group_is_an_error_with_a_suggestion():
  def function(task, *, pseudo_threshold=0.9):
    return task, pseudo_threshold

  assert registry.call(function, "config.method", 1, pseudo_threshold=0.5) == (1, 0.5)
  with pytest.raises(
    ValueError, match=r"config\.method has no field 'pseudo_treshold'.*_threshold'"
  ):
    registry.call(function, "config.method", 1, pseudo_treshold=0.5)


@pytest.mark.fast
def test_a_field_that_was_added_since_is_no_difference_at_its_default():
  new = config_diff.to_plain(config_lib.default())
  old = copy.deepcopy(new)
  del old["data"]["source_scale"]
  assert not config_diff.differences(old, new)
  new["data"]["source_scale"] = [0.9, 1.1]
  (difference,) = config_diff.differences(old, new)
  assert difference == "config.data.source_scale: nothing there, [0.9, 1.1] here"
