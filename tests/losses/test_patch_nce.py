import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(0), 2)
Q, K = (jax.random.normal(key, (3, 4, 5)) for key in KEYS)  # [B, P, A]


def dense_rows(queries, keys, temperature):
  """Rows of queries and keys [N, A], all others negatives, as one softmax over N + 1 classes."""
  similarity = queries @ keys.T
  positive = jnp.diagonal(similarity)[:, None]
  negative = jnp.where(jnp.eye(len(queries), dtype=bool), -10.0, similarity)
  return -jax.nn.log_softmax(jnp.concatenate([positive, negative], 1) / temperature)[:, 0]


@pytest.mark.parametrize("temperature", [0.5, 4.0])  # at 4 the class of -10 is felt
def test_both_kinds_of_negatives_are_the_dense_formula(temperature):
  for negatives, groups in (("image", 3), ("batch", 1)):
    expected = lambda q, n=groups: jax.vmap(lambda a, b: dense_rows(a, b, temperature))(
      q.reshape(n, -1, 5), K.reshape(n, -1, 5)
    )
    rows = lambda q, n=negatives: losses.patch_nce(
      q, K, temperature=temperature, negatives=n, reduction="none"
    )
    assert rows(Q).shape == (3, 4)
    np.testing.assert_allclose(rows(Q).reshape(-1), expected(Q).reshape(-1), rtol=1e-5, atol=1e-6)
    grads = [jax.grad(lambda q, f=f: f(q).mean())(Q) for f in (rows, expected)]
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-6)


def test_other_images_matter_only_as_negatives_of_the_whole_batch():
  changed = K.at[2].multiply(-1.0)
  for negatives, same in (("image", True), ("batch", False)):
    rows = [losses.patch_nce(Q, k, negatives=negatives, reduction="none")[:2] for k in (K, changed)]
    assert np.allclose(*rows, rtol=1e-6) == same


def test_one_image_has_the_same_negatives_either_way():
  values = [losses.patch_nce(Q[:1], K[:1], negatives=n) for n in ("image", "batch")]
  np.testing.assert_allclose(*values, rtol=1e-6)


@pytest.mark.parametrize("case", golden("confeti/patchnce"))
def test_matches_reference(case: Case):
  """Tolerances of golden/confeti/README.md."""
  close = lambda actual, expected: assert_close(actual, expected, rtol=1e-4, atol=1e-5)
  shape = (int(case.batch), int(case.patches), -1)
  queries, keys = (jnp.asarray(x).reshape(shape) for x in (case.feat_q, case.feat_k))
  loss = functools.partial(
    losses.patch_nce,
    temperature=float(case.temperature),
    negatives="batch" if case.all_negatives_from_minibatch else "image",
  )
  rows = jax.jit(functools.partial(loss, reduction="none"))(queries, keys)
  close(rows.reshape(-1), case.loss_rows)
  value, grad = jax.jit(jax.value_and_grad(loss))(queries, keys)
  close(value, case.loss)
  close(grad.reshape(case.grad_q.shape), case.grad_q)
