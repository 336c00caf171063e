"""The fusion of two resolutions agrees with the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import losses
from jax_uda.models.hrda import fusion
from jax_uda.ops import boxes as hrda_boxes
from jax_uda.ops import resize

pytestmark = pytest.mark.fast


def cross_entropy(logits, label, weight):
  return losses.weighted_cross_entropy(resize.bilinear(logits, label.shape[1:]), label, weight)


@pytest.mark.parametrize("case", golden("base/hrda_fusion"))
def test_matches_reference(case):
  label, stride = jnp.asarray(case.label), int(case.os)
  weight = jnp.asarray(case.seg_weight) if "seg_weight" in case else jnp.ones(label.shape)
  box = jnp.asarray(case.crop_box) if case.use_crop else None
  hr_weight, lr_weight = float(case.hr_loss_weight), float(case.lr_loss_weight)

  def loss(context, detail, attention):
    fused = fusion.fuse(context, detail, attention, box=None if box is None else box // stride)
    size = tuple(stride * side for side in detail.shape[1:3])
    detail_of = lambda x: x if box is None else hrda_boxes.crop(x, box, size)
    terms = {
      "loss_seg": (1 - hr_weight - lr_weight) * cross_entropy(fused.logits, label, weight),
      "hr_loss_seg": hr_weight * cross_entropy(detail, detail_of(label), detail_of(weight)),
    }
    if lr_weight:
      terms["lr_loss_seg"] = lr_weight * cross_entropy(fused.context, label, weight)
    return sum(terms.values()), (terms, fused)

  inputs = [jnp.asarray(case[f"{name}_logits"]) for name in ("lr", "hr", "att")]
  (total, (terms, fused)), gradients = jax.jit(jax.value_and_grad(loss, (0, 1, 2), has_aux=True))(
    *inputs
  )
  assert_close(fused.logits, case.fused, 1e-5)
  assert_close(fused.context, case.lr_scaled, 1e-5)
  assert_close(total, case.loss_total, 1e-5)
  for name, value in terms.items():
    assert_close(value, case[name], 1e-5)
  for name, gradient in zip(("lr", "hr", "att"), gradients, strict=True):
    assert_close(gradient, case[f"grad_{name}"], 1e-5)


def arrays(seed=0, classes=3):
  keys = jax.random.split(jax.random.key(seed), 3)
  shapes = ((2, 4, 6, classes), (2, 4, 4, classes), (2, 4, 6, classes))
  return [jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True)]


def test_the_orders_agree_where_the_attention_is_constant():
  context, _, attention = arrays()
  detail = jax.random.normal(jax.random.key(9), (2, 8, 12, 3))
  run = lambda a, order: fusion.fuse(context, detail, a, order=order).logits
  constant = jnp.full_like(attention, 0.3)
  np.testing.assert_allclose(run(constant, "scale_first"), run(constant, "resize_first"), atol=1e-5)
  assert jnp.abs(run(attention, "scale_first") - run(attention, "resize_first")).max() > 1e-2


@pytest.mark.parametrize("order", ["scale_first", "resize_first"])
def test_far_from_the_crop_the_context_decides_alone(order):
  context, detail, attention = arrays()
  box = jnp.array([0, 4, 0, 4])
  fused = fusion.fuse(context, detail, attention, box=box, order=order)
  alone = resize.bilinear(context, (8, 12))
  np.testing.assert_allclose(fused.logits[:, 6:], alone[:, 6:], atol=1e-5)
  np.testing.assert_allclose(fused.logits[:, :, 6:], alone[:, :, 6:], atol=1e-5)
  assert jnp.abs(fused.logits - alone)[:, :3, :3].min(-1).max() > 1e-3


def test_boxes_may_differ_between_images():
  context, detail, attention = arrays()
  boxes = jnp.array([[0, 4, 2, 6], [4, 8, 8, 12]])
  both = fusion.fuse(context, detail, attention, box=boxes).logits
  for i, box in enumerate(boxes):
    one = slice(i, i + 1)
    single = fusion.fuse(context[one], detail[one], attention[one], box=box).logits
    np.testing.assert_allclose(both[one], single, atol=1e-6)


def test_an_unknown_order_is_answered_with_the_nearest_one():
  context, detail, attention = arrays()
  with pytest.raises(ValueError, match="Did you mean 'scale_first'"):
    fusion.fuse(context, detail, attention, box=jnp.zeros(4, int), order="scalefirst")
