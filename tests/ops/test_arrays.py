import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.ops import arrays

pytestmark = pytest.mark.fast
X = jax.random.normal(jax.random.key(0), (4, 8))
EPS = float(jnp.finfo(jnp.float32).eps)


def test_a_norm_within_rounding_is_zero_and_has_no_gradient():
  noise = X * EPS
  floor = arrays.rounding(arrays.typical_length(X))
  value, grad = jax.value_and_grad(lambda x: arrays.safe_norm(x, floor).sum())(noise)
  assert value == 0 and not grad.any()
  value, grad = jax.value_and_grad(lambda x: arrays.safe_norm(x, floor).sum())(1e-3 * X)
  np.testing.assert_allclose(value, 1e-3 * jnp.linalg.norm(X, axis=-1).sum(), rtol=1e-6)
  np.testing.assert_allclose(jnp.linalg.norm(grad, axis=-1), 1, rtol=1e-6)


def test_what_counts_as_rounding_grows_with_the_size_and_the_dtype():
  assert arrays.rounding(jnp.float32(2.0)) == 2 * arrays.rounding(jnp.float32(1.0))
  assert arrays.rounding(jnp.float32(1.0), jnp.bfloat16) == 2 * float(jnp.finfo(jnp.bfloat16).eps)


def test_a_vector_of_noise_among_others_has_no_direction_and_no_gradient():
  x = X.at[1].multiply(EPS)
  unit, pullback = jax.vjp(arrays.l2_normalize, x)
  (grad,) = pullback(X[::-1])
  assert not unit[1].any() and not grad[1].any()
  zero, zero_pullback = jax.vjp(arrays.l2_normalize, x.at[1].set(0))
  np.testing.assert_array_equal(unit, zero)
  np.testing.assert_array_equal(grad, zero_pullback(X[::-1])[0])


def test_the_size_of_all_vectors_does_not_matter():
  np.testing.assert_allclose(arrays.l2_normalize(1e-9 * X), arrays.l2_normalize(X), rtol=1e-6)


def test_a_sum_that_cancels_has_no_direction():
  terms = jnp.concatenate([X, -X * (1 + EPS)])
  size = jnp.linalg.norm(terms, axis=-1).sum()
  assert not arrays.l2_normalize(terms.sum(0), size).any()
