"""VFM-UDA's step on a tiny ViT."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import methods, models
from jax_uda.step import optimizer, state, train_step
from jax_uda.step import teacher as ema
from jax_uda.step.context import Passes
from jax_uda.step.method import Task, with_unit_images
from jax_uda.step.outputs import Outputs

TASK = Task(3, (0.5, 0.3, 0.2))
METHOD = methods.build(TASK, name="vfm_uda", pseudo_threshold=0.5)


def batch():
  key = jax.random.key(1)
  image = lambda seed: jax.random.randint(jax.random.key(seed), (2, 42, 42, 3), 0, 255, jnp.uint8)
  label = jax.random.randint(key, (2, 42, 42), 0, 3).at[:, :9].set(255)
  return {"source": {"image": image(1), "label": label}, "target": {"image": image(2)}}


def network(encoder: str, **options):
  return models.build(encoder=encoder, decoder="vit_head", num_classes=3, encoder_options=options)


def test_a_step_is_finite_and_its_teacher_follows_the_updated_student():
  model = network("dinov2_vits14", embed_dim=8, depth=1, num_heads=2)
  tx = optimizer.build(lambda step: 1e-2)
  rule = ema.Rule(after_update=True, offset=1, statistics=True)
  step = train_step.make_train_step(model, METHOD, tx, teacher_rule=rule)
  first = state.create(model, METHOD, tx, image_size=(42, 42), seed=0)
  before = jax.tree.map(np.asarray, first.student["params"])
  after, metrics = jax.jit(step)(first, batch())
  assert all(jnp.isfinite(value) for value in metrics.values()), metrics
  middle = jax.tree.map(lambda a, b: (a + b) / 2, before, after.student["params"])
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  jax.tree.map(close, after.teacher["params"], middle)


def test_an_encoder_that_hides_no_tokens_is_refused():
  arguments = dict(METHOD.passes(0)["masked"].inputs, train=False, use_running_average=True)
  init = lambda: network("compact").init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), **arguments)
  with pytest.raises(ValueError, match="mask_ratio, which CompactEncoder does not take"):
    jax.eval_shape(init)


def test_pseudo_labels_are_those_of_an_image_and_its_mirror_image_together():
  # A teacher that says class 1 on the left of what it sees, a little less surely class 0 elsewhere.
  logits = jnp.zeros((2, 3, 3, 3)).at[:, :, 0, 1].set(4.0).at[:, :, 1:, 0].set(2.0)
  teacher = Passes(lambda *_, **__: (Outputs(logits, (), None, {}), None), {})
  views = METHOD.make_views(
    METHOD.draw(jax.random.key(0), batch()), with_unit_images(batch()), teacher
  )
  label = views["target"].label
  np.testing.assert_array_equal(label, label[:, :, ::-1])
  assert int(label[0, 20, 0]) == 1 and int(label[0, 20, 21]) == 0


def test_ignored_source_pixels_weigh_nothing_also_where_they_are_pasted():
  teacher = Passes(lambda *_, **__: (Outputs(jnp.zeros((2, 3, 3, 3)), (), None, {}), None), {})
  views = METHOD.make_views(
    METHOD.draw(jax.random.key(0), batch()), with_unit_images(batch()), teacher
  )
  for name in ("source", "mixed"):
    assert not views[name].weight[views[name].label == 255].any()


def test_jitter_reaches_the_source_and_the_target_part_of_the_mix_but_not_its_source_part():
  teacher = Passes(lambda *_, **__: (Outputs(jnp.zeros((2, 3, 3, 3)), (), None, {}), None), {})
  draws, images = METHOD.draw(jax.random.key(0), batch()), with_unit_images(batch())
  always = lambda draws, happens: draws.replace(happens=jnp.full(2, happens))
  drawn = draws["vfm_uda"]
  drawn = drawn.replace(
    weak_source=always(drawn.weak_source, True),
    weak_target=always(drawn.weak_target, True),
    mixed=drawn.mixed.replace(
      jitter=always(drawn.mixed.jitter, False), blur=always(drawn.mixed.blur, False)
    ),
  )
  views = METHOD.make_views({"vfm_uda": drawn}, images, teacher)
  same = lambda view, domain: np.isclose(views[view].image, images[domain]["image"], atol=1e-6).all(
    -1
  )
  # The teacher is sure of nothing: what weighs 1 was pasted from the source.
  pasted = np.asarray(views["mixed"].weight == 1)
  assert 0.1 < pasted.mean() < 0.9 and same("mixed", "source")[pasted].all()
  assert not same("source", "source").all() and not same("mixed", "target")[~pasted].all()
