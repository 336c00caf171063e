"""The most class-diverse of several random crops of a pseudo-labelled image (SePiCo's balanced crop).

Golden: `sepico/cbc_crop`.
"""

import jax
import jax.numpy as jnp


def crop(x: jax.Array, offset: jax.Array, size: tuple[int, int]) -> jax.Array:
  """The window of x [H,W,...] at offset [2] (y, x, may be traced) of static `size` (h, w)."""
  start = (offset[0], offset[1], *[0] * (x.ndim - 2))
  return jax.lax.dynamic_slice(x, start, (*size, *x.shape[2:]))


def candidate_offsets(
  key: jax.Array, image_size: tuple[int, int], size: tuple[int, int], count: int = 10
) -> jax.Array:
  """[count, 2] int32 independent uniform offsets (y, x) at which the crop fits.

  Raises:
    ValueError: The crop is larger than the image.
  """
  if size[0] > image_size[0] or size[1] > image_size[1]:
    raise ValueError(f"a crop of {size} does not fit an image of {image_size}")
  limit = jnp.array([image_size[0] - size[0] + 1, image_size[1] - size[1] + 1])
  return jax.random.randint(key, (count, 2), 0, limit)


def crop_scores(
  label: jax.Array,
  offsets: jax.Array,
  size: tuple[int, int],
  *,
  num_classes: int,
  max_class_ratio: float = 0.75,
) -> jax.Array:
  """Scores crops by the sum of the log pixel counts of their classes; 0 if one class dominates.

  Args:
    label: [H,W] integers; outside 0..C-1 (255 = ignore) is not counted.
    offsets: [n, 2] int32 (y, x).
    size: (h, w) of the crop.
    num_classes: Number of classes, C.
    max_class_ratio: A crop with one class only, or whose largest class holds this share or more of
      the counted pixels, scores 0. Classes of a single pixel score 0.

  Returns:
    [n] float32.
  """

  def score(offset):
    window = crop(label, offset, size)
    counts = jnp.stack([jnp.sum(window == c) for c in range(num_classes)]).astype(jnp.float32)
    diverse = jnp.sum(counts > 0) >= 2
    balanced = jnp.max(counts) < max_class_ratio * jnp.sum(counts)
    logs = jnp.sum(jnp.where(counts > 1, jnp.log(jnp.maximum(counts, 1)), 0.0))
    return jnp.where(diverse & balanced, logs, 0.0)

  return jax.lax.map(score, offsets)
