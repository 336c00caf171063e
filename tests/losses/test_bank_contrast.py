"""The bank loss: its formula, its blocks, and the numbers of the reference implementation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden
from reference_contrast import assert_matches_sepico

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(0), 6)
X = jax.random.normal(KEYS[0], (2, 3, 4, 6))
Y = jax.random.randint(KEYS[1], (2, 3, 4), 0, 5).at[0, 0, :2].set(255)
MEAN = jax.random.normal(KEYS[2], (5, 6))


def value_and_grad(loss, x=X):
  return jax.value_and_grad(loss)(x)


def assert_same(a, b, rtol=1e-5):
  jax.tree.map(lambda u, v: np.testing.assert_allclose(u, v, rtol, atol=1e-7), a, b)


@pytest.mark.parametrize("case", golden("sepico/bank_loss"))
def test_matches_reference(case: Case):
  bank, length = jnp.asarray(case.bank), jnp.asarray(case.bank_len)
  assert_matches_sepico(
    case,
    lambda x, label, **reduction: losses.bank_cross_entropy(
      x, label, bank, length, temperature=float(case.contrast_temp), block=8, **reduction
    ),
  )


@pytest.mark.parametrize("length", [1, 3])
def test_a_bank_of_equal_entries_is_a_prototype(length):
  bank = jnp.repeat(MEAN[:, None], length, 1)
  lengths = jnp.full(5, length)
  assert_same(
    value_and_grad(lambda x: losses.bank_cross_entropy(x, Y, bank, lengths, temperature=0.5)),
    value_and_grad(lambda x: losses.prototype_cross_entropy(x, Y, MEAN, temperature=0.5)),
  )


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
