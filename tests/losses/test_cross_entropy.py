import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import losses
from jax_uda.ops import arrays, resize

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/weighted_ce"))
def test_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    label = jnp.asarray(part.label)
    weight = jnp.asarray(part.weight) if "weight" in part else None

    def loss(logits, label=label, weight=weight):
      logits = resize.bilinear(logits, label.shape[1:])
      return losses.weighted_cross_entropy(logits, label, weight)

    value, grad = jax.jit(jax.value_and_grad(loss))(part.logits)
    assert_close(value, part.loss, 1e-5)
    assert_close(grad, part.grad, 1e-5)


LOGITS = jax.random.normal(jax.random.key(0), (6, 4))
LABELS = jnp.array([0, 3, 255, 1, 1, 2])
WEIGHTS = jnp.array([1.0, 0.5, 2.0, 0.0, 1.0, 0.3])


def test_without_valid_pixels_value_and_gradient_are_exactly_zero():
  loss = lambda x: losses.weighted_cross_entropy(x, jnp.full(6, 255))
  value, grad = jax.value_and_grad(loss)(LOGITS)
  assert value == 0 and not grad.any()


def test_ignored_pixels_count_in_the_denominator_only():
  keep = jnp.array([0, 1, 3, 4, 5])
  whole = losses.weighted_cross_entropy(LOGITS, LABELS, WEIGHTS)
  part = losses.weighted_cross_entropy(LOGITS[keep], LABELS[keep], WEIGHTS[keep])
  np.testing.assert_allclose(whole * 6, part * 5, rtol=1e-6)
  changed = losses.weighted_cross_entropy(LOGITS.at[2].set(1e4), LABELS, WEIGHTS)
  assert changed == whole


def test_class_weights_act_as_weights_by_label():
  table = jnp.array([1.0, 2.0, 0.5, 3.0])
  weights = jnp.where(LABELS < 4, table[jnp.minimum(LABELS, 3)], 7.0) * WEIGHTS
  np.testing.assert_allclose(
    losses.weighted_cross_entropy(LOGITS, LABELS, WEIGHTS, class_weights=table),
    losses.weighted_cross_entropy(LOGITS, LABELS, weights),
    rtol=1e-6,
  )


def test_permuting_pixels_changes_nothing_and_bfloat16_gives_float32():
  order = jnp.array([3, 0, 5, 1, 4, 2])
  loss = losses.weighted_cross_entropy
  np.testing.assert_allclose(
    loss(LOGITS[order], LABELS[order], WEIGHTS[order]), loss(LOGITS, LABELS, WEIGHTS), rtol=1e-6
  )
  low = loss(LOGITS.astype(jnp.bfloat16), LABELS, WEIGHTS)
  assert low.dtype == jnp.float32
  np.testing.assert_allclose(low, loss(LOGITS, LABELS, WEIGHTS), rtol=2e-2)


def test_a_wrong_shape_is_an_error_that_names_the_argument():
  with pytest.raises(ValueError, match=r"weights has shape \(5,\)"):
    losses.weighted_cross_entropy(LOGITS, LABELS, WEIGHTS[:5])


def test_the_mean_over_valid_pixels_leaves_ignored_ones_out_of_the_denominator():
  keep = jnp.array([0, 1, 3, 4, 5])
  valid = losses.weighted_cross_entropy(LOGITS, LABELS, denominator="valid")
  mean = losses.weighted_cross_entropy(LOGITS[keep], LABELS[keep])
  np.testing.assert_allclose(valid, mean, rtol=1e-6)
  weighted = losses.weighted_cross_entropy(LOGITS, LABELS, WEIGHTS, denominator="valid")
  total = losses.weighted_cross_entropy(LOGITS, LABELS, WEIGHTS) * 6
  np.testing.assert_allclose(weighted, total / WEIGHTS[keep].sum(), rtol=1e-6)


def test_image_class_cross_entropy_is_the_binary_cross_entropy_of_the_mean_map():
  maps = jax.random.normal(jax.random.key(0), (2, 3, 4, 3))
  labels = jnp.array([[[1, 2]], [[255, 0]]])
  prob = 1 / (1 + np.exp(-np.mean(np.asarray(maps), (1, 2))))
  held = np.array([[0, 1, 1], [1, 0, 0]])
  expected = -np.mean(np.log(np.where(held, prob, 1 - prob)))
  np.testing.assert_allclose(losses.image_class_cross_entropy(maps, labels), expected, rtol=1e-5)


def test_an_image_without_valid_pixels_is_trained_to_hold_no_class():
  maps = jnp.zeros((1, 2, 2, 4)).at[..., 0].set(9.0)
  labels = jnp.full((1, 2, 2), 255)
  grad = jax.grad(losses.image_class_cross_entropy)(maps, labels)
  assert (grad > 0).all()


@pytest.mark.parametrize("case", golden("spcl/seg_loss"))
def test_the_tempered_mean_over_valid_pixels_matches_reference(case: golden_cases.Case):
  label, temperature = jnp.asarray(case.label), float(case.temperature)
  upsampled = lambda logits: resize.bilinear(logits, label.shape[1:], align_corners=True)
  loss = lambda x: losses.weighted_cross_entropy(
    upsampled(x) / temperature, label, denominator="valid"
  )
  value, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(case.logits))
  np.testing.assert_allclose(value, case.loss, rtol=1e-5)
  assert_close(grad, case.grad_logits, 1e-4)
  np.testing.assert_allclose(
    upsampled(jnp.asarray(case.logits)), case.upsampled, rtol=1e-5, atol=1e-6
  )


@pytest.mark.parametrize("case", golden("rccr/supervised_ce"))
def test_the_mean_over_valid_pixels_matches_reference(case: golden_cases.Case):
  label = jnp.asarray(case.label)

  def loss(logits):
    logits = resize.bilinear(logits, label.shape[1:], align_corners=True)
    return losses.weighted_cross_entropy(logits, label, denominator="valid")

  value, grad = jax.jit(jax.value_and_grad(loss))(jnp.asarray(case.logits))
  np.testing.assert_allclose(value, case.loss, rtol=1e-4, atol=1e-6)
  assert_close(grad, case.grad_logits, 1e-3, 1e-6)


@pytest.mark.parametrize("case", golden("confeti/cam_head"))
def test_image_class_cross_entropy_matches_reference(case: golden_cases.Case):
  """Tolerances of golden/confeti/README.md."""
  close = lambda actual, expected: assert_close(actual, expected, rtol=1e-4, atol=1e-5)
  project = lambda features, kernel: arrays.matmul(features, kernel.T)
  inputs = jnp.asarray(case.feat), jnp.asarray(case.cam_kernel)
  label = jnp.asarray(case.label)
  maps = project(*inputs)
  close(jax.nn.relu(maps), case.cam_map)
  close(maps.mean((1, 2)), case.scores)
  np.testing.assert_array_equal(losses.image_classes(label, len(case.cam_kernel)), case.cls_label)
  loss = lambda *x: losses.image_class_cross_entropy(project(*x), label)
  value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(*inputs)
  close(value, case.loss)
  close(grads[0], case.grad_feat)
  close(grads[1], case.grad_kernel)
