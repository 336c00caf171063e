"""Feature distance on thing classes (DAFormer, Hoyer et al. 2022, section 3.3)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jax_uda.ops.labels import downscale_label


def feature_distance(
  features: jax.Array,
  reference: jax.Array,
  labels: jax.Array,
  *,
  thing_classes: Sequence[int],
  num_classes: int,
  min_ratio: float = 0.75,
) -> jax.Array:
  """Mean Euclidean distance of features from reference features over cells of thing classes.

  Args:
    features: [B,h,w,D].
    reference: [B,h,w,D], constant.
    labels: [B,H,W] at image resolution; cells are H // h pixels.
    thing_classes: Classes whose cells count.
    num_classes: C.
    min_ratio: See `downscale_label`.

  Returns:
    float32 scalar. No such cell: value and gradient are exactly 0 (the reference code has NaN).

  Raises:
    ValueError: The shapes do not fit.

  >>> import jax.numpy as jnp
  >>> features, labels = jnp.ones((1, 2, 2, 4)), jnp.zeros((1, 4, 4), int)
  >>> float(feature_distance(features, features - 1, labels, thing_classes=(0,), num_classes=2))
  2.0
  """
  if features.shape != reference.shape:
    raise ValueError(f"reference has shape {reference.shape}, features has {features.shape}")
  batch, height, width, _ = features.shape
  factor = labels.shape[1] // height
  if labels.shape != (batch, factor * height, factor * width):
    raise ValueError(
      f"labels have shape {labels.shape}, not a whole multiple of features {features.shape}"
    )
  cells = downscale_label(labels, factor, num_classes, min_ratio)
  mask = jnp.isin(cells, jnp.array(tuple(thing_classes)))
  difference = features.astype(jnp.float32) - jax.lax.stop_gradient(reference.astype(jnp.float32))
  squared = jnp.sum(difference**2, -1)
  positive = squared > 0  # the root has no gradient at 0: keep it away from the root altogether
  distance = jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
  return jnp.sum(jnp.where(mask, distance, 0.0)) / jnp.maximum(jnp.sum(mask), 1)
