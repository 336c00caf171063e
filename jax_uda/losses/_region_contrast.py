"""Contrast of cells with the teacher's view of the same place and a queue of other cells (RCCR).

Anchors come from an image in which a box of the target was pasted into the source. The positive of an
anchor is the teacher's embedding of the same place in the untouched target image.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays
from jax_uda.ops.arrays import Reduction
from jax_uda.ops.labels import NUM_IDS


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
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over anchors of `-log(exp(p - m) / (D + e) + e)`.

  With p = z . t / tau for the anchor z and its positive t, s_k = z . b_k / tau for the rows of the
  queue, and m = max(p, max_k s_k):

    D = exp(p - m) + sum_{k: label_k != y} exp(s_k - m)

  Rows of the anchor's class count in m, but not in D. Rows of label 255 differ from every class.

  Args:
    anchors: z, [..., A] (N in all), unit vectors, any float dtype.
    positives: t, [..., A], constant.
    labels: y, [...] integers, the anchors' classes; an anchor labelled 255 or below 0 is left out.
    queue_embeddings: b, [M, A], the oldest rows first; constant.
    queue_labels: [M] integers.
    weights: [...] float32 or None (all 1), constant. 0 marks what is no anchor: cells outside the
      box, or where the teacher is not confident.
    queue_valid: [M] bool or None (all): whether a row holds something.
    temperature: tau.
    first_rows: The maximum m looks at this many rows only, as in the reference. By way of e, it
      matters only where every row is of the anchor's class.
    epsilon: e, 0 or more; 1e-8 is not negligible against probabilities of 1e-5.
    block: The number of anchors at a time: memory grows with block * M, not with N * M.
    reduction: "mean", or "none" for the losses of the single anchors.

  Returns:
    float32, a scalar or [...]. No anchor of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype, number or option does not fit.

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
  arrays.check_reduction(reduction)
  if queue_valid is None:
    queue_valid = jnp.ones(queue_labels.shape, bool)
  _check(anchors, positives, queue_embeddings, queue_labels, queue_valid)
  z, y, w = arrays.pixels(anchors, labels, weights, NUM_IDS)
  t = jax.lax.stop_gradient(positives.reshape(z.shape).astype(jnp.float32))
  queue = _Queue(
    jax.lax.stop_gradient(queue_embeddings.astype(jnp.float32)),
    queue_labels,
    queue_valid,
    queue_valid[:first_rows],
    jnp.log(jnp.float32(epsilon)),
  )
  layout = anchor_blocks.Layout.of(anchors, block)
  fixed_anchors = _FixedAnchors(layout.split(t), layout.split(y))
  arguments = (layout.split(z / temperature), (), fixed_anchors, queue)  # the queue is not trained
  values = anchor_blocks.reduce(layout, _rows, arguments, w, reduction)
  return values if reduction == "mean" else values.reshape(labels.shape)


class _FixedAnchors(NamedTuple):
  """The constants of a block of n anchors."""

  positives: jax.Array  # [n, A]
  labels: jax.Array  # [n]


class _Queue(NamedTuple):
  """The constants that every block sees."""

  embeddings: jax.Array  # [M, A]
  labels: jax.Array  # [M]
  valid: jax.Array  # [M] bool
  valid_in_max: jax.Array  # [min(M, first_rows)] bool: the rows that the maximum looks at
  log_epsilon: jax.Array  # scalar


def _rows(z: jax.Array, trained: tuple[()], fixed: _FixedAnchors, queue: _Queue) -> jax.Array:
  """The losses [n] of a block of anchors z [n, A], which are divided by the temperature already.

  All is in logarithms: the maximum m need not cover every row, so exp(s - m) itself could overflow.
  """
  del trained
  positive = jnp.sum(z * fixed.positives, -1)
  s = arrays.matmul(z, queue.embeddings.T)  # [n, M]
  in_sum = jnp.where(queue.valid & (queue.labels != fixed.labels[:, None]), s, -jnp.inf)
  shift = jax.lax.stop_gradient(jnp.maximum(positive, jnp.max(in_sum, 1)))  # cancels out
  terms = jnp.exp(positive - shift) + jnp.sum(jnp.exp(in_sum - shift[:, None]), 1)
  in_max = jnp.where(queue.valid_in_max, s[:, : len(queue.valid_in_max)], -1e30)
  largest = jnp.maximum(positive, jnp.max(in_max, 1))
  log_denominator = jnp.logaddexp(jnp.log(terms) + shift - largest, queue.log_epsilon)
  return -jnp.logaddexp(positive - largest - log_denominator, queue.log_epsilon)


def _check(
  anchors: jax.Array,
  positives: jax.Array,
  queue_embeddings: jax.Array,
  queue_labels: jax.Array,
  queue_valid: jax.Array,
) -> None:
  arrays.check_float("anchors", anchors, min_ndim=2)
  arrays.check_float("positives", positives)
  arrays.check_shape("positives", positives, anchors.shape, of="anchors")
  arrays.check_rows("queue_embeddings", queue_embeddings, anchors.shape[-1], of="anchors")
  arrays.check_labels("queue_labels", queue_labels, queue_embeddings.shape[:1], of="queue rows")
  arrays.check_shape("queue_valid", queue_valid, queue_labels.shape, of="queue rows")
  if queue_valid.dtype != jnp.bool_:
    raise ValueError(f"queue_valid has dtype {queue_valid.dtype}; expected bool")
