import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_contrast
from golden_cases import Case, golden

from jax_uda import memory
from jax_uda.memory import class_statistics, ring_bank

pytestmark = pytest.mark.fast

X = jax.random.normal(jax.random.key(0), (3, 8, 5)) * 2 + 1
Y = jax.random.randint(jax.random.key(1), (3, 8), 0, 3).at[0, 0].set(255)
close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)


def test_the_statistics_are_numpys():
  stats = class_statistics.batch_statistics(X, Y, num_classes=4)
  for c in range(3):
    members = np.asarray(X)[np.asarray(Y) == c]
    close(stats.mean[c], members.mean(0))
    close(stats.variance[c], members.var(0))
    assert stats.count[c] == len(members)
  assert not stats.mean[3].any() and not stats.variance[3].any() and stats.count[3] == 0


def test_any_split_and_order_of_the_pixels_gives_the_statistics_of_their_union():
  whole = class_statistics.batch_statistics(X, Y, 4)
  for order in ([0, 1, 2], [2, 0, 1]):
    state = memory.empty_class_statistics(4, 5)
    for i in order:
      state = class_statistics.update(state, X[i], Y[i])
    jax.tree.map(close, state, whole)
  parts = [class_statistics.batch_statistics(X[i], Y[i], 4) for i in range(3)]
  jax.tree.map(close, functools.reduce(class_statistics.merge, parts), whole)


def test_float32_keeps_a_small_variance_about_a_large_mean():
  x = 1000 + jax.random.normal(jax.random.key(2), (4096, 2))
  stats = class_statistics.batch_statistics(x, jnp.zeros(4096, jnp.int32), 1)
  np.testing.assert_allclose(stats.variance[0], np.var(np.asarray(x, np.float64), 0), rtol=1e-4)


def test_an_ema_forgets_and_takes_a_new_class_whole():
  state = memory.empty_class_statistics(2, 1)
  update = functools.partial(class_statistics.update, ema_decay=0.75)
  state = update(state, jnp.array([[4.0]]), jnp.array([0]))
  close(state.mean, [[4.0], [0.0]])
  state = update(state, jnp.array([[8.0], [8.0]]), jnp.array([0, 0]))
  close(state.mean, [[5.0], [0.0]])
  close(state.variance, [[0.75 * 0.25 * 16.0], [0.0]])
  close(state.count, [3.0, 0.0])
  with pytest.raises(ValueError, match="ema_decay = 1.0"):
    class_statistics.update(state, jnp.ones((1, 1)), jnp.array([0]), ema_decay=1.0)


def test_weights_are_copies():
  weights = jnp.ones((3, 8)).at[1].set(2.0)
  twice = lambda a: jnp.concatenate([a, a[1:2]])
  expected = class_statistics.batch_statistics(twice(X), twice(Y), 3)
  jax.tree.map(close, class_statistics.batch_statistics(X, Y, 3, weights), expected)


@pytest.mark.parametrize("case", golden("sepico/estimator"))
def test_statistics_and_bank_match_reference(case: Case):
  num_classes, length = int(case.num_classes), int(case.memory_length)
  statistics = class_statistics.ClassStatistics(
    *(jnp.asarray(case[name]) for name in ("mean0", "covariance0", "amount0"))
  )
  bank = length and ring_bank.RingBank(
    jnp.asarray(case.bank0, jnp.float32), jnp.asarray(case.bank_len0)
  )

  @jax.jit
  def step(statistics, bank, feat, label):
    label = reference_contrast.small_label(
      label, feat.shape[1:3], num_classes, float(case.min_ratio), bool(case.use_avg_pool)
    )
    means, counts = memory.class_means(feat, label, num_classes)
    if length:
      bank = ring_bank.push(bank, means, counts > 0)
    return class_statistics.update(statistics, feat, label), bank, counts

  for t in range(len(case.feat)):
    batch = jnp.asarray(case.feat[t]), jnp.asarray(case.label[t])
    statistics, bank, counts = step(statistics, bank, *batch)
    np.testing.assert_array_equal(counts, case.batch_count[t])
    close(statistics.mean, case["mean"][t])
    close(statistics.variance, case.covariance[t])
    np.testing.assert_array_equal(statistics.count, case.amount[t])
    if length:
      close(ring_bank.oldest_first(bank), case.bank[t])
      np.testing.assert_array_equal(bank.length, case.bank_len[t])


def test_statistics_of_no_size_are_an_error():
  with pytest.raises(ValueError, match="num_classes = 0"):
    memory.empty_class_statistics(0, 5)
