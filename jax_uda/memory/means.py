"""The mean embedding of each class of one batch, as one matrix product."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


class ClassMeans(NamedTuple):
  """The mean embeddings of a batch's classes; rows of classes that it does not hold are 0."""

  means: jax.Array  # [C, A] float32
  counts: jax.Array  # [C] float32, the sum of the pixels' weights


def class_means(
  embeddings: jax.Array,
  labels: jax.Array,
  num_classes: int,
  weights: jax.Array | None = None,
) -> ClassMeans:
  """The weighted mean embedding of every class: `sum_n w_n [y_n = c] f_n / sum_n w_n [y_n = c]`.

  Args:
    embeddings: [..., A], any float dtype; constant (no gradient flows into a memory).
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    num_classes: C.
    weights: [...] float32 or None (all 1).

  Returns:
    ClassMeans in float32. An absent class has mean 0 and count 0.

  Raises:
    ValueError: The shapes or dtypes do not fit.

  >>> import jax.numpy as jnp
  >>> batch = class_means(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0, 0, 255]), num_classes=2)
  >>> batch.means.tolist(), batch.counts.tolist()
  ([[2.0], [0.0]], [2.0, 0.0])
  """
  embeddings, labels, weights = arrays.pixels(embeddings, labels, weights, num_classes)
  members = arrays.one_hot(labels, weights, num_classes)  # [N, C]
  counts = jnp.sum(members, 0)
  sums = arrays.matmul(members.T, jax.lax.stop_gradient(embeddings))
  return ClassMeans(sums / jnp.where(counts > 0, counts, 1.0)[:, None], counts)
