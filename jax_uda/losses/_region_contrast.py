"""A feature cell against the teacher's view of the same place, and a queue of other cells (RCCR).

Anchors come from an image in which a box of the target was pasted into the source; the positive of an
anchor is the teacher's embedding of the same place in the untouched target image.
"""

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays

NUM_IDS = 255  # every id but 255 = ignore is a class


def region_contrast(
  anchors: jax.Array,
  positives: jax.Array,
  labels: jax.Array,
  queue_embeddings: jax.Array,
  queue_labels: jax.Array,
  *,
  weights: jax.Array | None = None,
  queue_valid: jax.Array | None = None,
  temperature: float = 0.1,
  first_rows: int = 2000,
  epsilon: float = 1e-8,
  block: int = 256,
) -> jax.Array:
  """Weighted mean over anchors of `-log(exp(p - m) / (D + e) + e)`.

  With p = z . t / tau for the anchor z and its positive t, s_k = z . b_k / tau for the rows of the
  queue, and m = max(p, max_k s_k):

    D = exp(p - m) + sum_{k: label_k != y} exp(s_k - m)

  Rows of the anchor's class count in m, not in D. Rows of label 255 differ from every class.

  Args:
    anchors: [..., A] (N in all), unit vectors, any float dtype.
    positives: [..., A], constant.
    labels: [...] integers, the anchors' classes y; an anchor labelled 255 or below 0 is left out.
    queue_embeddings: [M, A], the oldest rows first; constant.
    queue_labels: [M] integers.
    weights: [...] float32 or None (all 1), 0 for what is no anchor: cells outside the box, or where
      the teacher is not confident; constant.
    queue_valid: [M] bool or None (all): rows that hold something.
    temperature: tau.
    first_rows: The maximum m looks at this many rows only, as in the reference. It matters, by way
      of e, only where every row is of the anchor's class.
    epsilon: e, 0 or more; 1e-8 is not negligible against probabilities of 1e-5.
    block: Anchors at a time: memory grows with block * M, not with N * M.

  Returns:
    float32 scalar. No anchor of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or number does not fit.

  Source: RCCR (Zhou et al., ICME 2022), reference code; golden `rccr/region_contrast`.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.eye(2), jnp.array([0, 1])
  >>> print(f"{region_contrast(x, x, y, x, y, temperature=1.0):.4f}")  # log(1 + 1 / e)
  0.3133
  """
  for name, value in (("temperature", temperature), ("first_rows", first_rows), ("block", block)):
    arrays.check_positive(name, value)
  if epsilon < 0:
    raise ValueError(f"epsilon = {epsilon}; expected 0 or more")
  arrays.check_float("anchors", anchors, min_ndim=2)
  arrays.check_float("positives", positives)
  arrays.check_shape("positives", positives, anchors.shape, of="anchors")
  arrays.check_rows("queue_embeddings", queue_embeddings, anchors.shape[-1], of="anchors")
  arrays.check_labels("queue_labels", queue_labels, queue_embeddings.shape[:1], of="queue rows")
  if queue_valid is None:
    queue_valid = jnp.ones(queue_labels.shape, bool)
  arrays.check_shape("queue_valid", queue_valid, queue_labels.shape, of="queue rows")
  if queue_valid.dtype != jnp.bool_:
    raise ValueError(f"queue_valid has dtype {queue_valid.dtype}; expected bool")
  z, y, w = arrays.pixels(anchors, labels, weights, NUM_IDS)
  t = jax.lax.stop_gradient(positives.reshape(z.shape).astype(jnp.float32))
  rows = jax.lax.stop_gradient(queue_embeddings.astype(jnp.float32))
  groups = anchors.shape[0] if anchors.ndim > 2 else 1
  layout = anchor_blocks.Layout(groups, len(z) // groups, block)
  total, _ = anchor_blocks.total(
    _block_sum,
    layout.split(z / temperature),
    (),  # the queue is not trained
    jax.tree.map(layout.split, (t, y, w)),
    (rows, queue_labels, queue_valid, queue_valid[:first_rows], jnp.log(jnp.float32(epsilon))),
  )
  return total / jnp.where(jnp.sum(w) > 0, jnp.sum(w), 1.0)


def _block_sum(z, trained, anchors, queue) -> tuple[jax.Array, None]:
  """Sum of weight * loss over a block of anchors z [n, A], divided by the temperature already.

  In logarithms: the maximum m need not cover every row, so exp(s - m) itself could overflow.
  """
  del trained
  (t, y, w), (rows, row_labels, valid, seen_by_max, log_epsilon) = anchors, queue
  positive = jnp.sum(z * t, -1)
  s = arrays.matmul(z, rows.T)  # [n, M]
  in_sum = jnp.where(valid & (row_labels != y[:, None]), s, -jnp.inf)
  shift = jax.lax.stop_gradient(jnp.maximum(positive, jnp.max(in_sum, 1)))  # cancels out
  terms = jnp.exp(positive - shift) + jnp.sum(jnp.exp(in_sum - shift[:, None]), 1)
  seen = jnp.where(seen_by_max, s[:, : len(seen_by_max)], -1e30)
  largest = jnp.maximum(positive, jnp.max(seen, 1))
  log_denominator = jnp.logaddexp(jnp.log(terms) + shift - largest, log_epsilon)
  nll = -jnp.logaddexp(positive - largest - log_denominator, log_epsilon)
  return jnp.sum(jnp.where(w > 0, w * nll, 0.0)), None
