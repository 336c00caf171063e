"""Attention by groups of queries is that of all queries at once, in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.models.layers import attention

pytestmark = pytest.mark.fast


def inputs(queries: int, keys: int) -> list[jax.Array]:
  shapes = ((2, queries, 3, 8), (2, keys, 3, 8), (2, keys, 3, 8))
  return [jax.random.normal(jax.random.key(i), shape) for i, shape in enumerate(shapes)]


def value_and_gradients(*args: jax.Array) -> tuple[jax.Array, tuple[jax.Array, ...]]:
  total = lambda *args: (jnp.sin(attention.attend(*args)).sum(), attention.attend(*args))
  (_, value), gradients = jax.value_and_grad(total, (0, 1, 2), has_aux=True)(*args)
  return value, gradients


@pytest.mark.parametrize("queries, keys", [(12, 12), (13, 4), (7, 20)])
def test_groups_of_queries_change_nothing(queries, keys, monkeypatch):
  args = inputs(queries, keys)
  whole = value_and_gradients(*args)
  monkeypatch.setattr(attention, "MOST_SCORES", 4 * keys * 3)  # four queries at a time
  grouped = value_and_gradients(*args)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, grouped)


def test_groups_keep_no_scores_of_all_queries(monkeypatch):
  args = inputs(64, 64)
  monkeypatch.setattr(attention, "MOST_SCORES", 8 * 64 * 3)
  text = str(jax.make_jaxpr(lambda *args: value_and_gradients(*args))(*args))
  assert "[2,3,64,64]" not in text and "[2,3,8,64]" in text


@pytest.mark.parametrize("queries, keys", [(8, 4), (7, 7), (8, 5), (9, 4)])
def test_lengths_made_even_change_nothing(queries, keys, monkeypatch):
  args = inputs(queries, keys)
  plain = value_and_gradients(*args)
  fused = attention._fused  # the arguments that cuDNN gets, computed without it
  monkeypatch.setattr(attention, "_fuses", lambda *_: True)
  monkeypatch.setattr(attention, "_fused", lambda *args: fused(*args, implementation="xla"))
  even = value_and_gradients(*args)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, even)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="about processors")
def test_a_processor_has_no_fused_kernel():
  args = [a.astype(jnp.bfloat16) for a in inputs(8, 8)]
  assert not attention._fuses(*args)
