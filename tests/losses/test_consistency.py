import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import losses
from jax_uda.ops import arrays

pytestmark = pytest.mark.fast

S, T = jax.random.normal(jax.random.key(0), (2, 3, 4, 5))
W = jax.random.uniform(jax.random.key(1), (3, 4))


def test_entropy_is_one_for_uniform_and_zero_for_certain_predictions():
  np.testing.assert_allclose(losses.entropy(jnp.full((2, 7), 3.0)), 1.0, rtol=1e-6)
  value, grad = jax.value_and_grad(losses.entropy)(jnp.array([[1e4, 0.0, 0.0]]))
  assert value == 0 and jnp.isfinite(grad).all()
  p = jax.nn.softmax(S)
  expected = np.average(-(p * jnp.log(p)).sum(-1) / np.log(5), weights=W)
  np.testing.assert_allclose(losses.entropy(S, W), expected, rtol=1e-5)


def test_kl_is_its_formula_and_not_symmetric():
  p, q = jax.nn.softmax(T / 2.0), jax.nn.softmax(S / 2.0)
  expected = 4.0 * np.average((p * jnp.log(p / q)).sum(-1), weights=W)
  np.testing.assert_allclose(losses.kl_consistency(S, T, W, temperature=2.0), expected, rtol=1e-4)
  assert abs(losses.kl_consistency(T, S, W, temperature=2.0) - expected) > 1e-3


def test_kl_has_no_gradient_where_student_and_teacher_agree():
  np.testing.assert_allclose(jax.grad(lambda s: losses.kl_consistency(s, T))(T), 0, atol=1e-6)


X, REFERENCE = jax.random.normal(jax.random.key(2), (2, 4, 3, 5))
P = jax.random.normal(jax.random.key(3), (6, 5))


def test_semantic_consistency_is_the_mean_squared_difference_of_similarities():
  expected = jnp.mean((X @ P.T - REFERENCE @ P.T) ** 2)
  loss = losses.semantic_consistency
  np.testing.assert_allclose(loss(X, REFERENCE, P), expected, rtol=1e-5)
  zero_rows = jnp.concatenate([P, jnp.zeros_like(P)])  # classes never seen
  np.testing.assert_allclose(loss(X, REFERENCE, zero_rows), expected / 2, rtol=1e-5)


def test_weights_of_semantic_consistency_average_over_pixels():
  weights = jnp.zeros((4, 3)).at[1, 2].set(2.0).at[3, 0].set(2.0)
  loss = losses.semantic_consistency
  pair = [loss(X[i][None], REFERENCE[i][None], P) for i in ((1, 2), (3, 0))]
  np.testing.assert_allclose(loss(X, REFERENCE, P, weights), sum(pair) / 2, rtol=1e-5)


@pytest.mark.parametrize("case", golden("confeti/semantic_consistency"))
def test_semantic_consistency_matches_reference(case: Case):
  """Tolerances of golden/confeti/README.md."""
  close = lambda actual, expected: assert_close(actual, expected, rtol=1e-4, atol=1e-5)
  project = lambda features, kernel: arrays.matmul(features, kernel.T)
  prototypes, kernel = jnp.asarray(case.prototypes), jnp.asarray(case.proj_kernel)
  reference = project(jnp.asarray(case.feat_src), kernel)
  stylised = lambda x, reg_kernel, bias: project(project(x, kernel), reg_kernel) + bias
  inputs = [jnp.asarray(case[name]) for name in ("feat_s2t", "reg_kernel", "reg_bias")]
  close(project(reference, prototypes), case.sim_src)
  close(project(stylised(*inputs), prototypes), case.sim_s2t)

  @jax.jit
  @functools.partial(jax.value_and_grad, argnums=(0, 1, 2))
  def loss(*inputs):
    value = losses.semantic_consistency(stylised(*inputs), reference, prototypes)
    return float(case.weight) * value

  value, grads = loss(*inputs)
  close(value, case.loss)
  for grad, name in zip(grads, ("feat_s2t", "reg_kernel", "reg_bias"), strict=True):
    close(grad, case[f"grad_{name}"])
