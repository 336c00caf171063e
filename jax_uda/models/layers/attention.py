"""The attention of all transformers: one function, so that one place chooses how."""

from typing import Literal

import jax
import jax.numpy as jnp

from jax_uda.common import platform

# Scores of an image, in float32, above which queries are taken in groups: 256 MiB.
MOST_SCORES = 2**26


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Softmax attention of every query over all keys, scaled by 1 / sqrt(d).

  A GPU computes it in bfloat16 and float16 by cuDNN's fused kernel, which stores no scores (Dao et
  al., FlashAttention, 2022). Elsewhere large maps are computed by groups of queries, whose scores are
  computed again in the backward pass.

  Args:
    query: [B, N, heads, d].
    key: [B, M, heads, d].
    value: [B, M, heads, d], of the same dtype.

  Returns:
    [B, N, heads, d], of that dtype.
  """
  if _fuses(query, key, value):
    return _fused(query, key, value)
  _, tokens, heads, _ = query.shape
  scores = tokens * key.shape[1] * heads
  if scores <= MOST_SCORES:
    return jax.nn.dot_product_attention(query, key, value, implementation="xla")
  return _by_groups(query, key, value, -(-scores // MOST_SCORES))


def _fuses(query: jax.Array, key: jax.Array, value: jax.Array) -> bool:
  """Whether this device has cuDNN's kernel for these shapes and this dtype."""
  if platform.name() != "gpu" or query.dtype not in (jnp.bfloat16, jnp.float16):
    return False
  total = lambda *args: _fused(*args).astype(jnp.float32).sum()
  try:  # JAX asks cuDNN's version and the card's generation while it traces
    jax.eval_shape(jax.grad(total), query, key, value)
  except (NotImplementedError, RuntimeError, ValueError):
    return False
  return True


def _fused(
  query: jax.Array,
  key: jax.Array,
  value: jax.Array,
  implementation: Literal["xla", "cudnn"] = "cudnn",
) -> jax.Array:
  """`attend` by cuDNN, which takes gradients of even lengths alone: odd ones get an entry without weight."""
  (batch, tokens), others = query.shape[:2], key.shape[1]
  lengths = lambda length: jnp.full((batch,), length, jnp.int32) if odd else None
  odd = tokens % 2 or others % 2
  even = lambda x: jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0)))
  result = jax.nn.dot_product_attention(
    even(query),
    even(key),
    even(value),
    query_seq_lengths=lengths(tokens),
    key_value_seq_lengths=lengths(others),
    implementation=implementation,
  )
  return result[:, :tokens]


def _by_groups(query: jax.Array, key: jax.Array, value: jax.Array, groups: int) -> jax.Array:
  """`attend` by about `groups` equal groups of queries, one after another."""
  tokens = query.shape[1]
  size = -(-tokens // groups)
  padded = jnp.pad(query, ((0, 0), (0, -tokens % size), (0, 0), (0, 0)))
  attend_group = jax.checkpoint(
    lambda group: jax.nn.dot_product_attention(group, key, value, implementation="xla")
  )
  split = padded.reshape(query.shape[0], -1, size, *query.shape[2:])
  results = jax.lax.map(attend_group, jnp.moveaxis(split, 1, 0))
  joined = jnp.moveaxis(results, 0, 1).reshape(padded.shape)
  return joined[:, :tokens]
