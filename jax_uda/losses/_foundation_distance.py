"""Distance between projected features and those of a frozen foundation model."""

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays
from jax_uda.ops.arrays import Reduction

SMALLEST_NORM = 1e-8  # of a vector in the cosine


def foundation_distance(
  features: jax.Array,
  reference: jax.Array,
  weights: jax.Array | None = None,
  *,
  smooth_l1_weight: float = 0.1,
  cosine_weight: float = 0.9,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over cells of `a mean_channels smooth_l1(f - g) + b (1 - cos(f, g))`.

  Args:
    features: f, [..., A], any float dtype.
    reference: g, [..., A]; constant.
    weights: [...] float32 or None (all 1); constant.
    smooth_l1_weight: a; the smooth L1 distance is quadratic below 1.
    cosine_weight: b.
    reduction: "mean", or "none" for the distances of the single cells.

  Returns:
    float32, a scalar or [...]. No cell of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the reduction is unknown.

  Source: VFM-UDA++ (Englert and Dubbelman, ICCVW 2025); golden `vfm_plus/feature_distance_vfm`.

  >>> x = jnp.array([[3.0, 0.0]])
  >>> print(f"{foundation_distance(x, 2 * x):.3f}")
  0.125
  """
  arrays.check_reduction(reduction)
  arrays.check_float("features", features, min_ndim=2)
  arrays.check_float("reference", reference)
  arrays.check_shape("reference", reference, features.shape, of="features")
  w = arrays.constant_weights(weights, features.shape[:-1], of="features")
  # Cells that do not count are replaced before the norms, whose gradients they could spoil.
  f = jnp.where(w[..., None] > 0, features.astype(jnp.float32), 1.0)
  g = jax.lax.stop_gradient(reference.astype(jnp.float32))
  smooth = jnp.mean(optax.losses.huber_loss(f, g, delta=1.0), -1)
  norm = lambda x: jnp.maximum(arrays.safe_norm(x), SMALLEST_NORM)
  cosine = jnp.sum(f * g, -1) / (norm(f) * norm(g))
  return arrays.reduce(smooth_l1_weight * smooth + cosine_weight * (1 - cosine), w, reduction)
