import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import losses

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


def test_every_class_counts_alike_for_centroids_however_many_pixels_it_has():
  prototypes = jnp.eye(3)
  x = jnp.array([[1.0, 0.2, 0.0], [0.3, 1.0, 0.0]])
  once = losses.centroid_cross_entropy(x, jnp.array([0, 1]), prototypes, temperature=0.5)
  many = jnp.array([0, 0, 0, 0, 1])
  often = losses.centroid_cross_entropy(x[many], many, prototypes, temperature=0.5)
  np.testing.assert_allclose(often, once, rtol=1e-6)
  unit = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
  nll = jax.nn.logsumexp(unit / 0.5, -1) - jnp.diag(unit)[:2] / 0.5
  np.testing.assert_allclose(once, nll.mean(), rtol=1e-5)


def test_a_long_embedding_counts_no_more_in_its_centroid_than_a_short_one():
  x, y = jnp.array([[1.0, 0.2], [0.3, 1.0], [0.5, 0.5]]), jnp.array([0, 0, 1])
  loss = lambda x: losses.centroid_cross_entropy(x, y, jnp.eye(2), temperature=0.5)
  np.testing.assert_allclose(loss(x * jnp.array([[5.0], [1.0], [0.1]])), loss(x), rtol=1e-6)
