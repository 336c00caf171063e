"""A stylised pixel should be as similar to every class prototype as the pixel that it was made of."""

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


def semantic_consistency(
  embeddings: jax.Array,
  reference: jax.Array,
  prototypes: jax.Array,
  weights: jax.Array | None = None,
) -> jax.Array:
  """Weighted mean over pixels, and mean over classes, of `(f . mu_c - f_ref . mu_c)^2`.

  Prototypes of classes never seen are 0 and count in the mean over classes.

  Args:
    embeddings: [..., A] of the stylised image, any float dtype; used as given, not normalised.
    reference: [..., A] of the original image; constant.
    prototypes: [C, A], constant.
    weights: [...] float32 or None (all 1); constant.

  Returns:
    float32 scalar. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: CONFETI; golden `confeti/semantic_consistency`.

  >>> import jax.numpy as jnp
  >>> x, prototypes = jnp.array([[3.0, 1.0]]), jnp.eye(2)
  >>> float(semantic_consistency(x, jnp.array([[1.0, 1.0]]), prototypes))
  2.0
  """
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_float("reference", reference)
  arrays.check_shape("reference", reference, embeddings.shape, of="embeddings")
  arrays.check_rows("prototypes", prototypes, embeddings.shape[-1])
  if weights is None:
    weights = jnp.ones(embeddings.shape[:-1], jnp.float32)
  arrays.check_shape("weights", weights, embeddings.shape[:-1], of="embeddings")
  weights = jax.lax.stop_gradient(weights.astype(jnp.float32))
  reference = jax.lax.stop_gradient(reference.astype(jnp.float32))
  # Similarities are linear: one product with the difference instead of two.
  shift = arrays.matmul(embeddings - reference, jax.lax.stop_gradient(prototypes).T)  # [..., C]
  return arrays.weighted_mean(jnp.mean(shift * shift, -1), weights)
