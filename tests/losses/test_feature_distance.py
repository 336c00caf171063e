import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda import losses

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/feature_distance"))
def test_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    options = dict(num_classes=int(part.num_classes), min_ratio=float(part.min_ratio))
    down = losses.downscale_label(jnp.asarray(part.label), int(part.scale_factor), **options)
    np.testing.assert_array_equal(down, part.label_down)
    np.testing.assert_array_equal(np.isin(down, part.thing_classes), part["mask"].astype(bool))

    def loss(features, part=part, options=options):
      distance = losses.feature_distance(
        features, part.feat_imnet, part.label, thing_classes=part.thing_classes.tolist(), **options
      )
      return float(part["lambda"]) * distance

    value, grad = jax.jit(jax.value_and_grad(loss))(part.feat)
    assert_close(value, part.loss_expected, 1e-5)
    assert_close(grad, part.grad, 1e-5)


def test_equal_features_give_no_gradient_instead_of_nan():
  features = jax.random.normal(jax.random.key(0), (1, 2, 2, 3))
  loss = lambda x: losses.feature_distance(
    x, features, jnp.zeros((1, 4, 4), jnp.int32), thing_classes=(0,), num_classes=2
  )
  value, grad = jax.value_and_grad(loss)(features)
  assert value == 0 and not grad.any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_features_that_differ_by_rounding_have_no_distance_and_no_gradient(dtype):
  reference = jax.random.normal(jax.random.key(0), (1, 4, 4, 64)).astype(dtype)
  loss = lambda x: losses.feature_distance(
    x, reference, jnp.zeros((1, 8, 8), jnp.int32), thing_classes=(0,), num_classes=2
  )
  noise = jax.random.rademacher(jax.random.key(1), reference.shape, dtype)
  eps = jnp.finfo(dtype).eps
  for features in (reference * (1 + eps).astype(dtype), reference * (1 + eps * noise)):
    assert (features != reference).any()
    value, grad = jax.jit(jax.value_and_grad(loss))(features)
    assert value == 0 and not grad.any()
  value, grad = jax.value_and_grad(loss)(
    reference * (1 + 16 * eps) if dtype != jnp.float32 else reference * 1.0001
  )
  assert value > 0 and jnp.linalg.norm(grad.astype(jnp.float32)[0, 0, 0]) > 0.9 / 16


def test_the_reference_is_a_constant():
  features = jnp.ones((1, 2, 2, 3))
  label = jnp.zeros((1, 4, 4), jnp.int32)
  loss = lambda r: losses.feature_distance(features, r, label, thing_classes=(0,), num_classes=2)
  assert not jax.grad(loss)(jnp.zeros_like(features)).any()


def test_a_cell_larger_than_the_label_is_an_error():
  with pytest.raises(ValueError, match="factor = 9; expected 1 to 8"):
    losses.downscale_label(jnp.zeros((1, 8, 8), jnp.int32), 9, 2, 0.75)


def test_labels_that_are_no_multiple_of_the_features_are_an_error():
  features = jnp.ones((1, 4, 4, 3))
  for shape in ((1, 2, 2), (1, 8, 4), (2, 8, 8), (1, 9, 8)):
    with pytest.raises(ValueError, match="labels have shape"):
      losses.feature_distance(
        features, features, jnp.zeros(shape, jnp.int32), thing_classes=(0,), num_classes=2
      )


def test_without_thing_cells_value_and_gradient_are_exactly_zero():
  features, reference = jax.random.normal(jax.random.key(0), (2, 1, 2, 2, 3))
  label = jnp.array([[[1, 1, 0, 0], [1, 1, 1, 0], [255] * 4, [255] * 4]])  # a road and void only
  loss = lambda x: losses.feature_distance(
    x, reference, label, thing_classes=(0,), num_classes=2, min_ratio=0.8
  )
  value, grad = jax.value_and_grad(loss)(features)
  assert value == 0 and not grad.any()


def test_the_mean_is_over_the_cells_of_the_whole_batch():
  features, reference = jax.random.normal(jax.random.key(1), (2, 3, 1, 2, 4))
  cells = jnp.array([[[0, 0]], [[0, 1]], [[1, 1]]])
  label = jnp.repeat(jnp.repeat(cells, 2, 1), 2, 2)
  loss = lambda order: losses.feature_distance(
    features[order], reference[order], label[order], thing_classes=(0,), num_classes=2
  )
  distance = jnp.linalg.norm(features - reference, axis=-1)
  expected = distance[jnp.array([0, 0, 1]), 0, jnp.array([0, 1, 0])].mean()
  np.testing.assert_allclose(loss(jnp.array([0, 1, 2])), expected, rtol=1e-6)
  np.testing.assert_allclose(loss(jnp.array([2, 0, 1])), expected, rtol=1e-6)
