import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(1), 5)
A, B = jax.random.normal(KEYS[0], (11, 4)), jax.random.normal(KEYS[1], (7, 4))
YA = jnp.array([0, 1, 2, 0, 255, 1, 3, 0, 2, 2, 1])
YB = jnp.array([0, 1, 2, 0, 255, 1, 2])
WA = jax.random.uniform(KEYS[2], (11,))
WB = jnp.array([1.0, 0.5, 2.0, 1.0, 1.0, 0.0, 1.5])


def dense(a, denominator, wb):
  """The formula, pair by pair."""
  s = np.asarray(a @ B.T) / 0.7
  values, weights = [], []
  for i in range(len(YA)):
    positives = [j for j in range(7) if YB[j] == YA[i] != 255 and wb[j] > 0]
    negatives = [k for k in range(7) if YB[k] not in (YA[i], 255) and wb[k] > 0]
    if not positives or YA[i] == 255:
      continue
    terms = []
    for j in positives:
      others = [k for k in positives if k != j] if denominator == "all" else []
      total = sum(np.exp(s[i, k]) for k in (j, *others, *negatives))
      terms.append(wb[j] * (np.log(total) - s[i, j]))
    values.append(sum(terms) / sum(wb[j] for j in positives))
    weights.append(WA[i])
  return np.average(values, weights=weights)


@pytest.mark.parametrize("denominator", ["negatives", "all"])
@pytest.mark.parametrize("weights", [np.ones(7), np.asarray(WB)])
def test_it_is_its_formula_written_pair_by_pair(denominator, weights):
  value = losses.info_nce(
    A,
    YA,
    B,
    YB,
    temperature=0.7,
    anchor_weights=WA,
    contrast_weights=jnp.asarray(weights, jnp.float32),
    denominator=denominator,
  )
  np.testing.assert_allclose(value, dense(A, denominator, weights), rtol=1e-5)


@pytest.mark.parametrize("denominator", ["negatives", "all"])
def test_blocks_do_not_matter(denominator):
  loss = lambda a, block: losses.info_nce(
    a, YA, A, YA, temperature=0.7, exclude_diagonal=True, denominator=denominator, block=block
  )
  whole = jax.value_and_grad(loss)(A, 1024)
  for block in (1, 4, 11):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      jax.value_and_grad(loss)(A, block),
      whole,
    )


@pytest.mark.parametrize("denominator", ["negatives", "all"])
def test_the_block_size_does_not_matter(denominator):
  loss = lambda a, block: losses.info_nce(
    a, YA, A, YA, temperature=0.7, exclude_diagonal=True, denominator=denominator, block=block
  )
  whole = jax.value_and_grad(loss)(A, 1024)
  for block in (1, 4, 11):
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      jax.value_and_grad(loss)(A, block),
      whole,
    )


def test_prototypes_as_contrasts_are_the_prototype_loss():
  prototypes = jax.random.normal(KEYS[3], (4, 4))
  np.testing.assert_allclose(
    losses.info_nce(A, YA, prototypes, jnp.arange(4), temperature=0.5, anchor_weights=WA),
    losses.prototype_cross_entropy(A, YA, prototypes, temperature=0.5, weights=WA),
    rtol=1e-5,
  )


def test_the_diagonal_is_left_out_on_request():
  lonely = jnp.array([0, 1, 2, 3])
  options = dict(temperature=0.5)
  assert losses.info_nce(B[:4], lonely, B[:4], lonely, **options) > 0
  assert losses.info_nce(B[:4], lonely, B[:4], lonely, exclude_diagonal=True, **options) == 0


def test_large_similarities_do_not_overflow():
  value, grad = jax.value_and_grad(lambda a: losses.info_nce(a, YA, B, YB, temperature=1e-4))(A)
  assert jnp.isfinite(value) and jnp.isfinite(grad).all()


def test_gradients_reach_both_sides():
  for argument in (0, 2):
    grad = jax.grad(lambda *args: losses.info_nce(*args, temperature=0.5), argnums=argument)(
      A, YA, B, YB
    )
    assert grad.any()


def test_supervised_contrast_draws_so_many_pixels_of_each_class():
  x = jax.random.normal(KEYS[4], (2, 8, 8, 4))
  y = jnp.where(jnp.arange(128).reshape(2, 8, 8) < 126, 0, 1)  # two pixels of class 1
  loss = lambda x: losses.supervised_pixel_contrast(
    x, y, jax.random.key(0), num_classes=2, anchors_per_class=3
  )
  touched = jax.grad(loss)(x).any(-1)
  assert int(touched[y == 0].sum()) == 3 and int(touched[y == 1].sum()) == 2
  other = lambda x: losses.supervised_pixel_contrast(
    x, y, jax.random.key(5), num_classes=2, anchors_per_class=3
  )
  assert (jax.grad(other)(x).any(-1) != touched).any()


def test_supervised_contrast_of_everything_is_info_nce_of_the_whole():
  x = A / jnp.linalg.norm(A, axis=-1, keepdims=True)
  value = losses.supervised_pixel_contrast(
    3.0 * A, YA, jax.random.key(0), num_classes=4, anchors_per_class=11, temperature=0.2
  )
  expected = losses.info_nce(x, YA, x, YA, temperature=0.2, exclude_diagonal=True)
  np.testing.assert_allclose(value, expected, rtol=1e-5)


def test_no_anchor_count_above_zero_is_an_error():
  with pytest.raises(ValueError, match="anchors_per_class = 0"):
    losses.supervised_pixel_contrast(A, YA, KEYS[0], num_classes=4, anchors_per_class=0)
  with pytest.raises(
    ValueError, match="exclude_diagonal needs as many contrasts as anchors: 7 and 11"
  ):
    losses.info_nce(A, YA, B, YB, temperature=1.0, exclude_diagonal=True)


def test_an_anchor_without_positives_is_left_out_of_the_mean_but_remains_a_negative():
  x, y = A[:3], jnp.array([0, 0, 1])
  s = np.asarray(x @ x.T) / 0.5
  expected = [np.logaddexp(s[0, 1], s[0, 2]) - s[0, 1], np.logaddexp(s[1, 0], s[1, 2]) - s[1, 0]]
  value = losses.info_nce(x, y, x, y, temperature=0.5, exclude_diagonal=True)
  np.testing.assert_allclose(value, np.mean(expected), rtol=1e-5)
