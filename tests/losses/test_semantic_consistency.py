import jax
import jax.numpy as jnp
import numpy as np

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(0), 3)
X, REFERENCE, P = (
  jax.random.normal(k, s) for k, s in zip(KEYS, ((4, 3, 5), (4, 3, 5), (6, 5)), strict=True)
)


def test_is_the_mean_squared_difference_of_similarities():
  expected = jnp.mean((X @ P.T - REFERENCE @ P.T) ** 2)
  loss = losses.semantic_consistency
  np.testing.assert_allclose(loss(X, REFERENCE, P), expected, rtol=1e-5)
  zero_rows = jnp.concatenate([P, jnp.zeros_like(P)])  # classes never seen
  np.testing.assert_allclose(loss(X, REFERENCE, zero_rows), expected / 2, rtol=1e-5)


def test_weights_average_over_pixels():
  weights = jnp.zeros((4, 3)).at[1, 2].set(2.0).at[3, 0].set(2.0)
  loss = losses.semantic_consistency
  pair = [loss(X[i][None], REFERENCE[i][None], P) for i in ((1, 2), (3, 0))]
  np.testing.assert_allclose(loss(X, REFERENCE, P, weights), sum(pair) / 2, rtol=1e-5)
