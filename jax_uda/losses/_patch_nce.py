"""Contrast of each patch of a translated image with the same place of the original (PatchNCE)."""

import functools
from typing import Literal

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays
from jax_uda.ops.arrays import Reduction

DIAGONAL = -10.0


def patch_nce(
  queries: jax.Array,
  keys: jax.Array,
  *,
  temperature: float = 0.07,
  negatives: Literal["image", "batch"] = "image",
  reduction: Reduction = "mean",
) -> jax.Array:
  """Mean over patches i of `-log(e^(q_i . k_i / t) / (e^(q_i . k_i / t) + sum_j e^(n_ij / t)))`.

  n_ij = q_i . k_j, and n_ii = -10: one more class, which is all but impossible.

  Args:
    queries: q, [..., P, A], any float dtype, used as they are (CUT's have unit norm): P patches of
      each generated image.
    keys: k, [..., P, A], the same places of the original images; constant.
    temperature: t.
    negatives: Where the patches j of the sum come from: from the same `image`, or the whole `batch`.
    reduction: "mean", or "none" for the losses of the single patches.

  Returns:
    float32, a scalar or [..., P].

  Raises:
    ValueError: A shape, dtype or option does not fit, or the temperature is not above 0.

  Source: CUT (Park et al., ECCV 2020); golden `confeti/patchnce`.

  >>> import jax.numpy as jnp
  >>> patches = jnp.eye(4)[None]  # [B, P, A]
  >>> print(f"{patch_nce(patches, patches, temperature=1.0):.4f}")  # ln((e + 3 + e^-10) / e)
  0.7437
  >>> patches = jnp.eye(4).reshape(2, 2, 4)
  >>> for negatives in ("image", "batch"):
  ...   losses = patch_nce(patches, patches, temperature=1.0, negatives=negatives, reduction="none")
  ...   print(losses.shape, f"{losses[0, 0]:.4f}")
  (2, 2) 0.3133
  (2, 2) 0.7437
  """
  arrays.check_positive("temperature", temperature)
  arrays.check_float("queries", queries, min_ndim=3)
  arrays.check_float("keys", keys)
  arrays.check_shape("keys", keys, queries.shape, of="queries")
  arrays.check_option("negatives", negatives, ("image", "batch"))
  arrays.check_reduction(reduction)
  patches, dim = queries.shape[-2:]
  q = queries.reshape(-1, patches, dim).astype(jnp.float32)
  k = jax.lax.stop_gradient(keys).reshape(-1, patches, dim).astype(jnp.float32)
  rows = functools.partial(_rows, temperature=temperature)
  if negatives == "image":
    values = jax.vmap(rows)(q, k, k, jnp.zeros(len(q), jnp.int32))
  else:
    # Image by image, so that [P, B P] is in memory and never [B P, B P].
    table, first = k.reshape(-1, dim), patches * jnp.arange(len(q))
    one = jax.checkpoint(lambda image: rows(image[0], image[1], table, image[2]))
    values = jax.lax.map(one, (q, k, first))
  values = values.reshape(queries.shape[:-1])
  return values if reduction == "none" else jnp.mean(values)


def _rows(
  queries: jax.Array, keys: jax.Array, table: jax.Array, first: jax.Array, *, temperature: float
) -> jax.Array:
  """Losses [P] of queries [P, A] with keys [P, A], the rows `first` to `first` + P of `table`."""
  same_place = jnp.arange(len(queries))[:, None] + first == jnp.arange(len(table))
  others = jnp.where(same_place, DIAGONAL, arrays.matmul(queries, table.T)) / temperature
  positive = jnp.sum(queries * keys, -1) / temperature
  return jax.nn.softplus(jax.nn.logsumexp(others, -1) - positive)  # exact near 0 as well
