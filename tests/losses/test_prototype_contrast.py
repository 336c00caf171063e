import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(0), 6)
X = jax.random.normal(KEYS[0], (2, 3, 4, 6))
UNIT = jnp.abs(X) / jnp.linalg.norm(X, axis=-1, keepdims=True)
Y = jax.random.randint(KEYS[1], (2, 3, 4), 0, 5).at[0, 0, :2].set(255)
MEAN = jax.random.normal(KEYS[2], (5, 6))
VARIANCE = jax.random.uniform(KEYS[3], (5, 6))


def value_and_grad(loss, x=X):
  return jax.value_and_grad(loss)(x)


def assert_same(a, b, rtol=1e-5):
  jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol, atol=1e-7), a, b)


def prototype(x, **options):
  return losses.prototype_cross_entropy(x, Y, MEAN, temperature=0.5, **options)


def test_a_distribution_without_variance_is_a_prototype():
  zero = jnp.zeros_like(VARIANCE)
  assert_same(
    value_and_grad(lambda x: losses.distribution_cross_entropy(x, Y, MEAN, zero, temperature=0.5)),
    value_and_grad(prototype),
  )


@pytest.mark.parametrize("length", [1, 3])
def test_a_bank_of_equal_entries_is_a_prototype(length):
  bank = jnp.repeat(MEAN[:, None], length, 1)
  lengths = jnp.full(5, length)
  assert_same(
    value_and_grad(lambda x: losses.bank_cross_entropy(x, Y, bank, lengths, temperature=0.5)),
    value_and_grad(prototype),
  )


def test_a_distribution_is_the_limit_of_sampled_positives_and_negatives():
  """E over Gaussian samples of exp(f . s / t) is exp(f . mu / t + (f f) . var / (2 t^2))."""
  noise = jax.random.normal(KEYS[4], (200_000, 5, 6))
  samples = MEAN + jnp.sqrt(VARIANCE) * noise
  x, y = X.reshape(-1, 6)[5], Y.reshape(-1)[5]
  similarity = samples @ x / 2.0
  expected = jnp.log(jnp.exp(similarity).mean(0).sum()) - MEAN[y] @ x / 2.0
  actual = losses.distribution_cross_entropy(x[None], y[None], MEAN, VARIANCE, temperature=2.0)
  np.testing.assert_allclose(actual, expected, rtol=1e-2)


def test_bank_contrast_is_its_formula_written_with_all_pairs():
  bank = jax.random.normal(KEYS[4], (5, 4, 6))
  length = np.array([4, 1, 0, 2, 3])

  def dense(x):
    x, y = x.reshape(-1, 6), np.asarray(Y).reshape(-1)
    terms = []
    for n in range(len(y)):
      if y[n] == 255 or not length[y[n]]:
        continue
      others = [k for k in range(5) if k != y[n] and length[k]]
      r = jnp.array([jnp.mean(bank[k, : length[k]] @ x[n] / 0.5) for k in others])
      p = bank[y[n], : length[y[n]]] @ x[n] / 0.5
      terms.append(jnp.mean(jnp.logaddexp(p, jax.nn.logsumexp(r)) - p))
    return jnp.mean(jnp.array(terms))

  loss = lambda x: losses.bank_cross_entropy(
    x, Y, bank, jnp.asarray(length), temperature=0.5, block=3
  )
  np.testing.assert_allclose(loss(X), dense(X), rtol=1e-5)
  direction = jax.random.normal(KEYS[5], X.shape)
  slope = (dense(X + 1e-2 * direction) - dense(X - 1e-2 * direction)) / 2e-2
  np.testing.assert_allclose(jnp.sum(jax.grad(loss)(X) * direction), slope, rtol=1e-3)


@pytest.mark.parametrize("block", [1, 5, 64])
def test_the_block_size_does_not_matter(block):
  bank = jax.random.normal(KEYS[4], (5, 4, 6))
  loss = lambda x, block: losses.bank_cross_entropy(
    x, Y, bank, jnp.full(5, 4), temperature=0.5, block=block
  )
  assert_same(
    value_and_grad(lambda x: loss(x, block)), value_and_grad(lambda x: loss(x, 128)), 1e-4
  )


def test_every_pixel_of_one_class_or_a_lone_class_is_no_special_case():
  bank = jax.random.normal(KEYS[4], (5, 4, 6))
  for labels, length in (
    (jnp.full_like(Y, 3), jnp.full(5, 4)),
    (jnp.full_like(Y, 3), jnp.array([0, 0, 0, 4, 0])),
  ):
    value, grad = value_and_grad(
      lambda x, y=labels, n=length: losses.bank_cross_entropy(x, y, bank, n, temperature=0.5)
    )
    assert jnp.isfinite(value) and jnp.isfinite(grad).all()
  assert value == 0  # without negatives every positive has probability 1


def test_at_temperature_100_the_loss_stays_within_a_hundredth_of_ln_c():
  mean = jnp.abs(MEAN) / jnp.linalg.norm(MEAN, axis=-1, keepdims=True)
  value = losses.prototype_cross_entropy(UNIT, Y, mean, temperature=100.0)
  assert abs(value - np.log(5)) <= 0.01
  regularizer = losses.mean_similarity_regularizer(UNIT, Y, mean, temperature=100.0)
  np.testing.assert_allclose(regularizer, -1.0, atol=1e-5)


def test_the_sign_flips_the_regularizer_and_its_gradient():
  term = lambda x, sign: losses.mean_similarity_regularizer(x, Y, MEAN, temperature=0.5, sign=sign)
  assert_same(value_and_grad(lambda x: term(x, -1)), value_and_grad(lambda x: -term(x, 1)))
  assert term(X, 1) < -1


def test_unseen_classes_leave_the_softmax_and_the_mean():
  seen = jnp.array([True, True, False, True, False])
  renumber = jnp.array([0, 1, 255, 2, 255])
  labels = jnp.where(Y < 5, renumber[jnp.minimum(Y, 4)], 255)
  expected = losses.prototype_cross_entropy(X, labels, MEAN[seen], temperature=0.5)
  np.testing.assert_allclose(prototype(X, seen=seen), expected, rtol=1e-5)
  value, grad = value_and_grad(lambda x: prototype(x, seen=jnp.zeros(5, bool)))
  assert value == 0 and not grad.any()


def test_normalizing_makes_the_length_of_embeddings_irrelevant():
  np.testing.assert_allclose(
    prototype(3.0 * X, normalize=True), prototype(X, normalize=True), rtol=1e-5
  )
  unit = X / jnp.linalg.norm(X, axis=-1, keepdims=True)
  np.testing.assert_allclose(prototype(X, normalize=True), prototype(unit), rtol=1e-5)
  term = lambda x, **options: losses.mean_similarity_regularizer(
    x, Y, MEAN, temperature=0.5, **options
  )
  np.testing.assert_allclose(term(X, normalize=True), term(unit), rtol=1e-5)


def test_a_weight_is_a_number_of_copies():
  weights = jnp.ones(Y.shape).at[1].set(2.0)
  twice = lambda a: jnp.concatenate([a, a[1:]])
  expected = losses.prototype_cross_entropy(twice(X), twice(Y), MEAN, temperature=0.5)
  np.testing.assert_allclose(prototype(X, weights=weights), expected, rtol=1e-5)
