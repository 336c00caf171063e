"""CLUDA as a method: its terms against the reference, and where the detail crop goes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import methods, models, objectives
from jax_uda.methods._cluda import most_uncertain
from jax_uda.step import optimizer, state, teacher, train_step
from jax_uda.step.context import Context, Passes, View
from jax_uda.step.method import Task
from jax_uda.step.outputs import Outputs


@pytest.mark.parametrize("order", ["aligned", "interleaved"])
@pytest.mark.parametrize("case", golden("cluda/cl_grid"))
def test_the_objective_matches_reference(case: Case, order: str):
  names = ("lr_fused", "hr_fused_crop", "weight_logits")
  label = jnp.asarray(case.labels)
  weight = case.pseudo_weight if case.has_pseudo_weight else np.ones(label.shape)
  view = View(jnp.zeros((*label.shape, 3)), label, jnp.asarray(weight, jnp.float32))
  term = objectives.pixel_contrast(
    view="any",
    grid=tuple(case.fm_size.tolist()),
    weighted=bool(case.has_pseudo_weight),
    pixel_order=order,
  )

  @jax.jit
  @jax.value_and_grad
  def run(maps):
    low, high, logits = maps
    heads = {"hr_fused": high, "feature_weight": logits, "hr_box": jnp.asarray(case.crop_boxes)}
    student = Passes(lambda *_: (Outputs(None, (), low, heads), None), {})
    ctx = Context(views={"any": view}, step=0, student=student, teacher=student)
    return term.apply((), ctx, None).loss

  loss, gradients = run(tuple(jnp.asarray(case[name]) for name in names))
  np.testing.assert_allclose(loss, case[f"loss_{order}"], rtol=1e-5, atol=1e-7)
  for gradient, name in zip(gradients, names, strict=True):
    assert_close(gradient, case[f"grad_{name}_{order}"], 1e-4, 1e-8)


def small_network(**hrda):
  width = {"embed_dim": 4, "channels": 4}
  return models.build(
    encoder="compact",
    decoder="light",
    num_classes=3,
    encoder_options={"widths": (8, 8, 8), "depths": (1, 1)},
    decoder_options={"width": 8},
    hrda={"crop_size": (16, 16), "attention_options": width, "fusion": "resize_first", **hrda},
  )


def small_step(model, phase):
  """The compiled metrics of one step of CLUDA with entropy crops from step 5."""
  method = methods.build(
    Task(3, (0.5, 0.3, 0.2)),
    name="cluda",
    thing_classes=(1,),
    pixel_contrasted=dict(grid=(9, 9)),
    entropy_cropped=dict(start_step=5),
  )
  tx = optimizer.build(lambda step: 1e-3)
  step = train_step.make_train_step(model, method, tx, teacher_rule=teacher.Rule(), phase=phase)
  key = jax.random.key(1)
  batch = {
    "source": {
      "image": jax.random.randint(key, (2, 32, 32, 3), 0, 255, jnp.uint8),
      "label": jax.random.randint(key, (2, 32, 32), 0, 3),
    },
    "target": {"image": jnp.zeros((2, 32, 32, 3), jnp.uint8)},
  }
  run = lambda: step(state.create(model, method, tx, image_size=(32, 32), seed=0), batch)
  return method, run


def test_a_step_on_hrda_with_entropy_crops_is_finite():
  method, run = small_step(small_network(feature_weighter=True), phase=5)
  assert [method.phase(step) for step in (0, 4, 5, 9)] == [0, 0, 5, 5]
  assert not method.passes(0) and "crop_box" in method.passes(5)["mixed"].inputs
  after, metrics = jax.jit(run)()
  assert all(jnp.isfinite(value) for value in metrics.values()), metrics
  assert metrics["loss/contrast_source"] > 0
  assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(after.student))


def test_hrda_without_a_feature_weighter_is_refused_with_the_field():
  _, run = small_step(small_network(), 0)
  with pytest.raises(ValueError, match="model.hrda.feature_weighter = False"):
    jax.eval_shape(run)


def test_the_most_uncertain_window_is_chosen():
  logits = jnp.zeros((1, 8, 8, 2)).at[:, :4, :, 0].set(9.0)  # certain at the top
  assert most_uncertain(logits, (32, 32), (16, 16)).tolist() == [[16, 32, 0, 16]]
