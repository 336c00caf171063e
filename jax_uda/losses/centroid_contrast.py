"""The batch's class centroids against prototypes of all classes."""

import jax
import jax.numpy as jnp

from jax_uda.losses.prototype_contrast import prototype_cross_entropy
from jax_uda.ops import arrays


def centroid_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  prototypes: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
) -> jax.Array:
  """Mean over the batch's classes of `-log softmax_c(centroid_y . mu_c / t)[y]`.

  A centroid is the normalised mean of the class's normalised embeddings, so every class present
  counts alike, however many pixels it has: `prototype_cross_entropy` counts pixels instead. Use it
  with momentum prototypes (`memory.prototypes`).

  Args:
    embeddings: [..., A], any float dtype; L2-normalised inside (a zero vector stays zero).
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    prototypes: [C, A], constant; used as given.
    temperature: Divides the similarities.
    weights: [...] float32 or None (all 1): of a pixel in its centroid; constant.

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the temperature is not above 0.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.eye(2)[jnp.array([0, 0, 0, 1])], jnp.array([0, 0, 0, 1])
  >>> print(f"{centroid_cross_entropy(x, y, jnp.eye(2), temperature=1.0):.4f}")
  0.3133
  """
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_rows("prototypes", prototypes, embeddings.shape[-1])
  num_classes = len(prototypes)
  x, y, w = arrays.pixels(embeddings, labels, weights, num_classes)
  members = arrays.one_hot(y, w, num_classes)  # [N, C]
  sums = arrays.matmul(members.T, arrays.l2_normalize(x))  # normalising removes the division
  present = jnp.sum(members, 0) > 0
  return prototype_cross_entropy(
    sums,
    jnp.where(present, jnp.arange(num_classes), 255),
    prototypes,
    temperature=temperature,
    normalize=True,
  )
