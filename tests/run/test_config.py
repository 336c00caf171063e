import importlib.util
import pathlib

import golden_cases
import pytest

from jax_uda import methods, models
from jax_uda.common import registry
from jax_uda.run import config as config_lib
from jax_uda.step.method import Task

ROOT = pathlib.Path(__file__).parents[2]
NO_RECIPES = {"published", "published_methods", "camvid"}  # what recipes share
RECIPES = [path for path in sorted((ROOT / "configs").rglob("*.py")) if path.stem not in NO_RECIPES]


def load_recipe(path: pathlib.Path, arg: str = ""):
  spec = importlib.util.spec_from_file_location("recipe", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(arg)


@pytest.mark.parametrize("arg", ["", "smoke"])
@pytest.mark.parametrize("path", RECIPES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_recipe_loads_and_its_stages_have_their_method_and_network(path, arg, monkeypatch):
  monkeypatch.syspath_prepend(ROOT)
  config = load_recipe(path, arg)
  assert set(config.compare) <= set(config.stages)
  small = arg or config.data.source.name in ("streets", "camvid")
  task = Task(11 if small else 19, (1 / 19,) * 19)
  stages = [config_lib.stage_config(config, name) for name in config.stages]
  for stage in stages or [config]:
    assert stage.num_steps > 0 and not stage.stages
    for before in filter(None, (stage.init_from, stage.init_player, stage.data.pseudo_labels)):
      assert before in config.stages
    if stage.task == "train":
      method = methods.build(task, **stage.method)
      model = models.build(num_classes=task.num_classes, **stage.model)
      assert not method.heads.keys() & model.heads.keys()


def test_the_dark_recipes_weights_are_the_published_ones(monkeypatch):
  monkeypatch.syspath_prepend(ROOT)
  config = load_recipe(ROOT / "configs" / "cityscapes_to_dark_zurich" / "sepico.py")
  case = golden_cases.load(golden_cases.ROOT / "sepico/dark_class_weight_00.npz")
  assert config.method.class_weights == pytest.approx(case.class_weight_std005, abs=1e-5)
  assert config.eval.class_weights == pytest.approx(case.class_weight_std016, abs=1e-5)


def test_a_stage_names_the_fields_of_its_data_and_evaluation_that_differ():
  config = config_lib.default()
  config.stages = ("one",)
  config.stage.one = dict(data=dict(flip=False), eval=dict(scales=(0.5,)), ema=dict(decay=0.5))
  config.data.dir = "elsewhere"  # as from the command line, after the recipe
  config.ema = dict(after_update=True)
  one = config_lib.stage_config(config, "one")
  assert (one.data.dir, one.data.flip, one.eval.scales) == ("elsewhere", False, (0.5,))
  assert one.ema.to_dict() == {"decay": 0.5}  # arguments of a function: replaced
  config.stage.one.data["flop"] = True
  with pytest.raises(ValueError, match=r"config\.stage\.one\.data\.flop replaces no field"):
    config_lib.stage_config(config, "one")


def test_a_stage_replaces_fields_and_nothing_else():
  config = config_lib.default()
  config.stages = ("first",)
  config.stage.first = dict(stop_step=7, method=dict(name="dacs"))
  stage = config_lib.stage_config(config, "first")
  assert stage.stop_step == 7 and dict(stage.method) == {"name": "dacs"}
  assert stage.batch_size == config.batch_size
  config.stage.first.batchsize = 3
  with pytest.raises(ValueError, match="config.stage.first.batchsize"):
    config_lib.stage_config(config, "first")


def test_arguments_take_the_type_of_their_default():
  arg = config_lib.parse_arg("seed=3,smoke", seed=0, smoke=False, target="dusk")
  assert dict(arg) == {"seed": 3, "smoke": True, "target": "dusk"}


@pytest.mark.parametrize(
  "text, message",
  [("sead=3", "Did you mean 'seed'"), ("seed=x", "not a int"), ("target", "needs a value")],
)
def test_a_wrong_argument_is_an_error_that_helps(text, message):
  with pytest.raises(ValueError, match=message):
    config_lib.parse_arg(text, seed=0, target="dusk")


def test_differences_name_the_fields_that_decide_the_parameters():
  old, new = config_lib.default(), config_lib.default()
  new.schedule.learning_rate = 1.0
  new.log_every_steps = 7
  new.eval.every_steps = 1
  new.method = {"name": "dacs", "pseudo_threshold": 0.5}
  found = config_lib.differences(config_lib.to_plain(old), config_lib.to_plain(new))
  assert found == [
    "config.method.name: 'daformer' there, 'dacs' here",
    "config.method.pseudo_threshold: nothing there, 0.5 here",
    "config.schedule.learning_rate: 6e-05 there, 1.0 here",
  ]


def test_a_part_of_a_method_without_settings_makes_a_difference():
  differ = lambda *also: config_lib.differences(*({"method": {"also": parts}} for parts in also))
  assert differ({}, {"masked": {}}) == ["config.method.also.masked: nothing there, {} here"]
  assert len(differ({"pixel_contrasted": {}}, {"masked": {}})) == 2
  assert not differ({"masked": {}}, {"masked": {}})


def test_a_misspelt_key_of_a_group_is_an_error_with_a_suggestion():
  def function(task, *, pseudo_threshold=0.9):
    return task, pseudo_threshold

  assert registry.call(function, "method", 1, pseudo_threshold=0.5) == (1, 0.5)
  with pytest.raises(
    ValueError, match=r"config\.method has no field 'pseudo_treshold'.*_threshold'"
  ):
    registry.call(function, "method", 1, pseudo_treshold=0.5)
