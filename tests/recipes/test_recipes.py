"""Every recipe resolves, in full and in small, and its stages have their method and their network."""

import json

import cv2
import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import methods, models
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces
from jax_uda.data.datasets import drawing
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, recipes, smoke, start
from jax_uda.run import settings as settings_lib
from jax_uda.step.learner import Learner
from jax_uda.step.method import Task

TASKS = (
  "gta_to_cityscapes/",
  "synthia_to_",
  "cityscapes_to_",
  "synthetic_to_",
  "oracle/",
  "combinations/",
)
# Their networks have the 16 classes of SYNTHIA's scores.
SYNTHIA16 = ("synthia_to_cityscapes/confeti", "synthia_to_cityscapes/spcl_stages")
PUBLISHED = [name for name in recipes.names() if name.startswith(TASKS)]


def resolved(recipe: str, *fields: tuple[str, str]) -> dict[str, config_lib.ConfigDict]:
  """The configs of a recipe's stages, or of its only run, with fields that are set."""
  config = recipes.load(recipe, fields)
  return config_lib.stage_configs(config) or {"": config}


@pytest.mark.fast
@pytest.mark.parametrize("arg", ["", "smoke"])
@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_loads_and_its_stages_have_their_method_and_network(name, arg):
  config = recipes.load(f"{name}:{arg}")
  assert set(config.compare) <= set(config.stages)
  num_classes = 19 if name in PUBLISHED else 11
  if name in SYNTHIA16 and not arg:
    num_classes = 16
  task = Task(num_classes, (1 / num_classes,) * num_classes)
  for stage in resolved(f"{name}:{arg}").values():
    assert stage.num_steps > 0 and not stage.stages
    for before in filter(None, (stage.init_from, stage.init_auxiliary, stage.data.pseudo_labels)):
      assert before in config.stages
    if stage.task == "train":
      method = methods.build(task, **stage.method)
      model = models.build(num_classes=task.num_classes, **stage.model)
      assert not method.heads.keys() & model.heads.keys()
      json.dumps(config_diff.to_plain(stage))


@pytest.mark.fast
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_smoke_run_is_small_and_all_its_terms_start(name):
  for stage in resolved(f"{name}:smoke").values():
    assert config_lib.last_step(stage) <= smoke.NUM_STEPS and not stage.init_weights
    for domain in ("source", "target"):
      assert stage.data[domain].name == "streets" and stage.data[domain].size == smoke.IMAGE
    assert max(stage.data.crop_size) <= max(smoke.IMAGE)
    method = methods.build(Task(19, (1 / 19,) * 19), **stage.method)
    assert max(method.phases) <= smoke.STOP_STEP
  assert list(resolved(name)) == list(resolved(f"{name}:smoke"))


@pytest.mark.fast
@pytest.mark.parametrize("name", PUBLISHED)
def test_a_published_recipe_asks_for_its_weights(name, tmp_path):
  settings = lambda arg, *fields: settings_lib.from_config(
    next(iter(resolved(f"{name}:{arg}", *fields).values()))
  )
  asked = r"init_weights is empty, but this recipe .*:weights=FILE or .*random in place of FILE"
  with pytest.raises(SettingError, match=asked):
    start.check(settings(""), tmp_path / "run")
  random = ("init_weights", "random")
  assert settings("", random).start.init_weights is None
  start.check(settings("", random), tmp_path / "run")
  start.check(settings("smoke"), tmp_path / "run")
  with pytest.raises(SettingError, match="there is no such weight file"):
    start.check(settings("", ("init_weights", "/no/such.pth")), tmp_path / "run")


@pytest.mark.long
@pytest.mark.parametrize("name", PUBLISHED)
def test_the_training_steps_of_a_smoke_run_fit_its_network(name):
  task = Task(19, (1 / 19,) * 19)
  for stage in resolved(f"{name}:smoke").values():
    if stage.task != "train":
      continue
    network = models.build(num_classes=19, **stage.model)
    method = methods.build(task, **stage.method)
    learner = Learner(network, method, schedule=lambda step: 1e-3)
    crop = tuple(stage.data.crop_size)
    whole = crop if stage.data.crop_target else smoke.IMAGE
    pixels = lambda *shape: jax.ShapeDtypeStruct((smoke.BATCH_SIZE, *shape), jnp.uint8)
    batch = {
      "source": {"image": pixels(*crop, 3), "label": pixels(*crop)},
      "target": {"image": pixels(*whole, 3)},
    }
    if stage.data.pseudo_labels:
      batch["target"]["label"] = pixels(*whole)
    state = learner.abstract_state(crop)
    assert sum(leaf.size for leaf in jax.tree.leaves(state.student)) < 2_000_000
    for phase in method.phases:
      learner.step_of(phase).eval_shape(state, batch)


@pytest.mark.fast
def test_small_values_follow_the_last_word_of_a_setting():
  config = config_lib.default()
  config.method = dict(
    name="dacs",
    a_new_start_step=500,
    its_feature_dim=300,
    grid=(40, 6),
    nested=dict(cell=4, num_rows=99, weight=0.1, enabled=True),
  )
  smoke.shrink(config)
  method = config.method.to_dict()
  assert (method["a_new_start_step"], method["its_feature_dim"]) == (1, smoke.WIDTH)
  assert method["grid"] == (8, 6)
  assert method["nested"] == dict(cell=4, num_rows=32, weight=0.1, enabled=True)


@pytest.mark.fast
def test_the_dark_recipes_weights_are_the_published_ones():
  config = recipes.load("cityscapes_to_dark_zurich/sepico")
  case = golden_cases.load(golden_cases.ROOT / "sepico/dark_class_weight_00.npz")
  assert config.method.class_weights == pytest.approx(case.class_weight_std005, abs=1e-5)
  assert config.eval.class_weights == pytest.approx(case.class_weight_std016, abs=1e-5)


@pytest.mark.fast
def test_a_recipe_has_a_name_and_a_file():
  here, there = recipes._folder() / "demo.py", "configs/demo.py"
  plain = [config_diff.to_plain(recipes.load(f"{name}:seed=3")) for name in ("demo", here, there)]
  assert plain[0] == plain[1] == plain[2] and plain[0]["seed"] == 3


@pytest.mark.fast
def test_a_recipe_of_the_users_own_is_a_file(tmp_path):
  (tmp_path / "mine.py").write_text(
    "from jax_uda.recipes import demo\n\n\ndef get_config(arg):\n  return demo.get_config(arg)\n"
  )
  assert recipes.load(f"{tmp_path / 'mine.py'}:seed=4").seed == 4


@pytest.mark.fast
def test_an_unknown_recipe_is_an_error_with_the_known_ones():
  with pytest.raises(SettingError, match=r"'gta_to_cityscapes/sepiko' .*Did you mean '.*sepico'"):
    recipes.load("gta_to_cityscapes/sepiko")


@pytest.mark.fast
def test_fields_of_a_stage_can_be_set_and_are_checked_before_the_first_one():
  load = lambda *fields: recipes.load("demo", [field.split("=") for field in fields])
  config = load("stages.warm_up.num_steps=7", "stages.self_training.method.name=daformer")
  stages = config_lib.stage_configs(config)
  assert stages["warm_up"].num_steps == 7 and stages["self_training"].method.name == "daformer"
  for field, message in (
    ("stages.warmup.num_steps=7", r"stages\.warmup is no field .* Did you mean 'warm_up'"),
    ("stages.warm_up.num_step=7", r"stages\.warm_up\.num_step is no field of the config"),
    ("stages.warm_up.num_steps=x", r"stages\.warm_up\.num_steps = 'x' must be of type int"),
  ):
    with pytest.raises(SettingError, match=message):
      load(field)


@pytest.mark.fast
def test_drawn_streets_count_the_classes_of_the_recipe():
  draw = lambda *more: next(drawing.draw("day", 0, range(1), (32, 48), *more))
  decode = lambda png: cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
  train_ids = label_spaces.translation(label_spaces.CAMVID11, label_spaces.CITYSCAPES19)
  (image, label), (same, translated) = draw(), draw(train_ids)
  assert image == same
  np.testing.assert_array_equal(decode(translated), train_ids[decode(label)])
  names = {label_spaces.CITYSCAPES19.names[i] for i in np.unique(decode(translated)) if i < 255}
  assert {"road", "sky", "building"} <= names
