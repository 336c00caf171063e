"""A patch of a translated image against the patch of the original at the same place (PatchNCE)."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays

DIAGONAL = -10.0


def patch_nce(
  queries: jax.Array,
  keys: jax.Array,
  *,
  temperature: float = 0.07,
  negatives: Literal["image", "batch"] = "image",
) -> jax.Array:
  """Mean of `patch_nce_rows`.

  Args:
    queries: [..., P, A]; see `patch_nce_rows`.
    keys: [..., P, A], constant.
    temperature: t.
    negatives: `image` or `batch`.

  Returns:
    float32 scalar.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CUT (Park et al., ECCV 2020); golden `confeti/patchnce`.

  >>> import jax.numpy as jnp
  >>> patches = jnp.eye(4)[None]  # [B, P, A]
  >>> print(f"{patch_nce(patches, patches, temperature=1.0):.4f}")  # ln((e + 3 + e^-10) / e)
  0.7437
  """
  return jnp.mean(patch_nce_rows(queries, keys, temperature=temperature, negatives=negatives))


def patch_nce_rows(
  queries: jax.Array,
  keys: jax.Array,
  *,
  temperature: float = 0.07,
  negatives: Literal["image", "batch"] = "image",
) -> jax.Array:
  """`-log(e^(q_i . k_i / t) / (e^(q_i . k_i / t) + sum_j e^(n_ij / t)))` for every patch i.

  n_ij = q_i . k_j, and n_ii = -10: one more class, all but impossible.

  Args:
    queries: [..., P, A], any float dtype, used as given (CUT's have unit norm): P patches of each
      generated image.
    keys: [..., P, A] at the same places of the original images; constant.
    temperature: t.
    negatives: The j of the sum: the patches of the same `image`, or of the whole `batch`.

  Returns:
    [..., P] float32.

  Raises:
    ValueError: A shape or dtype does not fit, the temperature is not above 0, or `negatives` is
      unknown.

  Source: CUT (Park et al., ECCV 2020); golden `confeti/patchnce`.

  >>> import jax.numpy as jnp
  >>> patches = jnp.eye(4).reshape(2, 2, 4)  # [B, P, A]
  >>> [f"{patch_nce_rows(patches, patches, temperature=1.0)[0, 0]:.4f}"]
  ['0.3133']
  >>> [f"{patch_nce_rows(patches, patches, temperature=1.0, negatives='batch')[0, 0]:.4f}"]
  ['0.7437']
  """
  arrays.check_positive("temperature", temperature)
  arrays.check_float("queries", queries, min_ndim=3)
  arrays.check_float("keys", keys)
  arrays.check_shape("keys", keys, queries.shape, of="queries")
  if negatives not in ("image", "batch"):
    raise ValueError(f"negatives = {negatives!r}; expected 'image' or 'batch'")
  patches, dim = queries.shape[-2:]
  q = queries.reshape(-1, patches, dim).astype(jnp.float32)
  k = jax.lax.stop_gradient(keys).reshape(-1, patches, dim).astype(jnp.float32)
  rows = functools.partial(_rows, temperature=temperature)
  if negatives == "image":
    losses = jax.vmap(rows)(q, k, k, jnp.zeros(len(q), jnp.int32))
  else:
    # Image by image, so that [P, B P] is in memory and never [B P, B P].
    table, first = k.reshape(-1, dim), patches * jnp.arange(len(q))
    one = jax.checkpoint(lambda image: rows(image[0], image[1], table, image[2]))
    losses = jax.lax.map(one, (q, k, first))
  return losses.reshape(queries.shape[:-1])


def _rows(
  queries: jax.Array, keys: jax.Array, table: jax.Array, first: jax.Array, *, temperature: float
) -> jax.Array:
  """Losses [P] of queries [P, A] with keys [P, A], which are rows `first` to `first` + P of `table`."""
  own = jnp.arange(len(queries))[:, None] + first == jnp.arange(len(table))
  others = jnp.where(own, DIAGONAL, arrays.matmul(queries, table.T)) / temperature
  positive = jnp.sum(queries * keys, -1) / temperature
  return jax.nn.softplus(jax.nn.logsumexp(others, -1) - positive)  # exact near 0 as well
