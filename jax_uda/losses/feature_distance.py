"""Feature distance on thing classes (DAFormer, Hoyer et al. 2022, section 3.3)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def downscale_label(
  label: jax.Array, factor: int, num_classes: int, min_ratio: float, ignore: int = 255
) -> jax.Array:
  """The majority label of each `factor` x `factor` cell.

  Args:
    label: [B,H,W] integers; everything outside 0..C-1 counts as one more class, "ignored".
    factor: One cell = `factor` pixels; it divides H and W.
    num_classes: C.
    min_ratio: Smallest share of the cell that the majority must hold.
    ignore: Value of a cell without such a majority, or whose majority is "ignored".

  Returns:
    [B, H / factor, W / factor] int32.

  Raises:
    ValueError: `factor` does not divide the sides.
  """
  batch, height, width = label.shape
  if height % factor or width % factor:
    raise ValueError(f"factor = {factor} does not divide the label's size {height}x{width}")
  cells = label.reshape(batch, height // factor, factor, width // factor, factor)
  ids = jnp.where((cells >= 0) & (cells < num_classes), cells, num_classes)
  share = jnp.stack(
    [jnp.mean(ids == c, (2, 4), dtype=jnp.float32) for c in range(num_classes + 1)], -1
  )
  winner = jnp.argmax(share, -1).astype(jnp.int32)
  keep = (jnp.max(share, -1) >= min_ratio) & (winner < num_classes)
  return jnp.where(keep, winner, ignore)


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
