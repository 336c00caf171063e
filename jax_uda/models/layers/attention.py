"""The attention of all plain Vision Transformers: one function, so that one place chooses how."""

import jax


def attend(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Softmax attention of every query over all keys, scaled by 1 / sqrt(d).

  Args:
    query: [B, N, heads, d].
    key: [B, M, heads, d].
    value: [B, M, heads, d], of the same dtype.

  Returns:
    [B, N, heads, d], of that dtype.
  """
  return jax.nn.dot_product_attention(query, key, value)
