import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden
from reference_contrast import assert_matches_sepico

from jax_uda import losses
from jax_uda.ops import arrays, labels, sampling

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


def test_a_distribution_is_the_limit_of_sampled_positives_and_negatives():
  """E over Gaussian samples of exp(f . s / t) is exp(f . mu / t + (f f) . var / (2 t^2))."""
  noise = jax.random.normal(KEYS[4], (200_000, 5, 6))
  samples = MEAN + jnp.sqrt(VARIANCE) * noise
  x, y = X.reshape(-1, 6)[5], Y.reshape(-1)[5]
  similarity = samples @ x / 2.0
  expected = jnp.log(jnp.exp(similarity).mean(0).sum()) - MEAN[y] @ x / 2.0
  actual = losses.distribution_cross_entropy(x[None], y[None], MEAN, VARIANCE, temperature=2.0)
  np.testing.assert_allclose(actual, expected, rtol=1e-2)


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
  known = jnp.array([True, True, False, True, False])
  renumber = jnp.array([0, 1, 255, 2, 255])
  labels = jnp.where(Y < 5, renumber[jnp.minimum(Y, 4)], 255)
  expected = losses.prototype_cross_entropy(X, labels, MEAN[known], temperature=0.5)
  np.testing.assert_allclose(prototype(X, class_mask=known), expected, rtol=1e-5)
  value, grad = value_and_grad(lambda x: prototype(x, class_mask=jnp.zeros(5, bool)))
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


@pytest.mark.parametrize("case", golden("sepico/proto_loss"))
def test_the_prototype_loss_matches_reference(case: Case):
  assert_matches_sepico(
    case,
    lambda x, label, **reduction: losses.prototype_cross_entropy(
      x, label, jnp.asarray(case["mean"]), temperature=float(case.contrast_temp), **reduction
    ),
  )


@pytest.mark.parametrize("case", golden("sepico/dist_loss"))
def test_the_distribution_loss_matches_reference(case: Case):
  assert_matches_sepico(
    case,
    lambda x, label, **reduction: losses.distribution_cross_entropy(
      x,
      label,
      jnp.asarray(case["mean"]),
      jnp.asarray(case.covariance),
      temperature=float(case.contrast_temp),
      variance_scale=float(case.dist_ratio),
      **reduction,
    ),
  )


@pytest.mark.parametrize("case", golden("spcl/cl_loss"))
def test_the_loss_of_both_domains_matches_reference(case: Case):
  """Tolerances of golden/spcl/README.md."""
  prototypes = jnp.asarray(case.prototypes)
  total = jnp.float32(0)
  for domain in ("src", "tgt"):
    features, label = (jnp.asarray(case[f"{domain}_{x}"]) for x in ("feat", "mask"))
    loss = lambda x, y=label: losses.prototype_cross_entropy(
      x, y, prototypes, temperature=float(case.tau), normalize=True
    )
    value, grad = jax.jit(jax.value_and_grad(loss))(features)
    np.testing.assert_allclose(value, case[f"loss_{domain}"], rtol=1e-5)
    assert_close(grad, case[f"grad_{domain}_feat"], 1e-4)
    assert not np.asarray(grad)[case[f"{domain}_zero_norm"]].any()
    total += value
  np.testing.assert_allclose(total, case.loss, rtol=1e-5)


@pytest.mark.parametrize("case", golden("confeti/pixel_proto"))
def test_sampled_contrast_and_regularizer_match_reference(case: Case):
  """Tolerances of golden/confeti/README.md."""
  close = lambda actual, expected: assert_close(actual, expected, rtol=1e-4, atol=1e-5)
  project = lambda features, kernel: arrays.matmul(features, kernel.T)
  num_classes, num_samples = int(case.num_classes), int(case.num_samples)
  label = labels.nearest_label(jnp.asarray(case.label), case.feat.shape[1:3])
  np.testing.assert_array_equal(label, case.label_small)
  valid = (label >= 0) & (label < num_classes)
  inputs = jnp.asarray(case.feat), jnp.asarray(case.proj_kernel)
  normed = arrays.l2_normalize(project(*inputs)) * valid[..., None]
  close(normed, case.v_normed)

  drawn = sampling.sample_valid(valid, num_samples, key=jax.random.key(0))
  assert drawn.sum() == len(case.sample_idx) and not (drawn * ~valid).any()
  chosen = jnp.zeros(label.size).at[case.sample_idx].set(1.0).reshape(label.shape)
  if valid.sum() <= num_samples:
    np.testing.assert_array_equal(chosen, drawn)

  common = dict(
    labels=label,
    prototypes=jnp.asarray(case.prototypes),
    temperature=float(case.tau),
    normalize=True,
  )

  def cross(features, kernel):
    loss = losses.prototype_cross_entropy(project(features, kernel), weights=chosen, **common)
    return float(case.loss_weight) * loss

  def regularizer(features, kernel):
    loss = losses.mean_similarity_regularizer(project(features, kernel), **common)
    norm = float(case.reg_norm) / (num_classes * math.log(num_classes))
    return float(case.reg_weight) * loss / norm

  for name, loss in (("cross", cross), ("reg", regularizer)):
    value, grads = jax.jit(jax.value_and_grad(loss, (0, 1)))(*inputs)
    close(value, case[f"loss_{name}"])
    for grad, of in zip(grads, ("feat", "proj"), strict=True):
      close(grad, case[f"grad_{of}_{name}"])


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


def test_a_class_whose_embeddings_cancel_has_no_centroid_and_no_gradient():
  x = jnp.stack([X[0, 0, 0], -X[0, 0, 0] * (1 + jnp.finfo(jnp.float32).eps), X[0, 0, 1]])
  loss = lambda x, y: losses.centroid_cross_entropy(x, y, MEAN, temperature=0.5)
  grad = jax.grad(loss)(x, jnp.array([0, 0, 1]))
  assert not grad[:2].any() and grad[2].any()
