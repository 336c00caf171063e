"""What a translator asks of the data, and what it does under other methods."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jax_uda import methods, models
from jax_uda.methods import _translator as translator
from jax_uda.step import optimizer
from jax_uda.step.learner import Learner
from jax_uda.step.method import Task, with_unit_images

TASK = Task(5, (0.2,) * 5)
SMALL = dict(
  num_patches=6,
  generator=dict(width=2, blocks=1, nce_layers=(0, 4, 8, 12)),
  discriminator=dict(width=2),
  patch_mlp=dict(dim=4),
)
KEY = jax.random.key(0)


def batch_of(size=(32, 32), target_size=None):
  image = lambda size: jnp.zeros((2, *size, 3), jnp.uint8)
  source = {"image": image(size), "label": jnp.zeros((2, *size), jnp.int32)}
  return {"source": source, "target": {"image": image(target_size or size)}}


def shapes_of_a_step(method, batch):
  """What a whole step gives, without running it."""
  model = models.build(
    encoder="compact", decoder="light", num_classes=5, decoder_options=dict(width=8)
  )
  learner = Learner(model, method, schedule=lambda step: 1e-3)
  before = learner.abstract_state((32, 32))
  after, metrics = jax.eval_shape(learner.pure_step(), before, batch)
  assert jax.tree.structure(before) == jax.tree.structure(after)
  spec = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]
  assert spec(before) == spec(after)
  return metrics


@pytest.mark.parametrize("name", ["dacs", "sepico", "source_only"])
def test_any_method_can_train_on_translated_images(name):
  method = methods.build(TASK, name=name, also={"translated": SMALL})
  metrics = shapes_of_a_step(method, batch_of(target_size=(64, 48) if name == "sepico" else None))
  assert {"loss/source", "translator/discriminator", "translator/patch_nce"} <= metrics.keys()


def test_methods_see_the_translation_and_keep_the_image_given():
  networks = translator.Translator(train=False, **SMALL).auxiliary(lambda step: 0.0)
  batch = batch_of()
  image = jax.random.randint(KEY, (2, 32, 32, 3), 0, 256).astype(jnp.uint8)
  batch["source"]["image"] = image
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(networks.init, KEY)
  now = jax.tree.map(lambda x: jnp.asarray(rng.normal(0, 0.1, x.shape), jnp.float32), shapes)
  batch = with_unit_images(batch)
  seen = jax.jit(networks.prepare)(now["params"], batch)["source"]
  np.testing.assert_array_equal(seen["raw"], batch["source"]["image"])
  assert seen["image"].shape == image.shape and not np.allclose(seen["image"], seen["raw"])
  assert 0 <= seen["image"].min() <= seen["image"].max() <= 1  # of a tanh
  assert networks.update(now, None, None, batch) == (now, {})


def test_sides_that_4_does_not_divide_are_refused():
  networks = translator.Translator(train=False, **SMALL).auxiliary(lambda step: 0.0)
  params = jax.eval_shape(networks.init, KEY)["params"]
  with pytest.raises(ValueError, match=r"data.crop_size = \(34, 32\).*multiples of 4"):
    jax.eval_shape(networks.prepare, params, batch_of((34, 32)))


def test_one_translator_a_method():
  method = methods.build(TASK, name="dacs", also={"translated": SMALL})
  with pytest.raises(ValueError, match="without auxiliary networks"):
    translator.add_translated(TASK, method)


def test_stage_0_leaves_the_student_alone():
  method = methods.build(TASK, name="confeti", stage=0, translator=SMALL)
  metrics = shapes_of_a_step(method, batch_of())
  assert "translator/adversarial" in metrics
  tx = optimizer.build(lambda step: 1.0, start_steps=method.start_steps)
  params = {"encoder": {"kernel": jnp.ones(3)}}
  grads = jax.tree.map(jnp.zeros_like, params)
  updates, _ = tx.update(grads, tx.init(params), params)
  jax.tree.map(np.testing.assert_array_equal, optax.apply_updates(params, updates), params)


def test_stages_hand_on_what_the_next_one_has():
  networks_by_stage = [
    methods.build(
      TASK, name="confeti", stage=stage, thing_classes=(1,), translator=SMALL
    ).auxiliary(lambda step: 0.0)
    for stage in (0, 1, 2)
  ]
  networks = [set(jax.eval_shape(auxiliary.init, KEY)["params"]) for auxiliary in networks_by_stage]
  cut = {"generator", "discriminator", "patch_mlp"}
  assert networks == [cut, cut | {"reg_proj"}, {"generator"}]


def test_stages_that_do_not_exist_are_refused():
  with pytest.raises(ValueError, match="method.stage = 3; expected 0, 1 or 2"):
    methods.build(TASK, name="confeti", stage=3)
