"""InfoNCE between two sets of labelled vectors, by blocks of anchors, and a loss made of it."""

import functools
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays
from jax_uda.ops.arrays import Reduction
from jax_uda.ops.labels import NUM_IDS

Denominator = Literal["negatives", "all"]


def info_nce(
  anchors: jax.Array,
  anchor_labels: jax.Array,
  contrasts: jax.Array,
  contrast_labels: jax.Array,
  *,
  temperature: float,
  anchor_weights: jax.Array | None = None,
  contrast_weights: jax.Array | None = None,
  denominator: Denominator = "negatives",
  exclude_diagonal: bool = False,
  block: int = 1024,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over anchors of the mean over positives of `-log p(positive)`.

  With s_ij = a_i . b_j / t, positives P(i) = {j: same label}, negatives Q(i) = {j: another label}:

    l_i = 1 / |P(i)| sum_{j in P(i)} lse({s_ij} + {s_ik: k in D}) - s_ij

  where D = Q(i) for "negatives" (one positive against all negatives; Wang et al., ICCV 2021,
  eq. 4) and D = P(i) + Q(i) without j itself for "all" (SupCon L_out; Khosla et al., NeurIPS 2020,
  eq. 2). An anchor without positives is left out of the mean.

  Args:
    anchors: a, [..., A] (N in all), any float dtype; used as they are, usually unit vectors.
    anchor_labels: [...] integers; an anchor labelled 255 or below 0 is left out.
    contrasts: b, [..., A] (M in all); stop its gradient before the call if it is a memory.
    contrast_labels: [...] integers; a contrast labelled 255 or below 0 is left out.
    temperature: t.
    anchor_weights: [...] float32 or None (all 1): weights of the mean over anchors; constant.
    contrast_weights: [...] float32 or None (all 1): a positive's share in the mean over P(i); a
      contrast of weight 0 is left out, also as a negative; constant.
    denominator: What competes with a positive: D above, "negatives" or "all".
    exclude_diagonal: Whether to leave out the pairs (i, i), for a set contrasted with itself.
    block: The number of anchors at a time: memory grows with block * M, not with N * M.
    reduction: "mean", or "none" for the losses l_i of the single anchors.

  Returns:
    float32, a scalar or the shape of `anchor_labels`. No valid pair: value and gradient are
    exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 2, 0), jnp.array([0, 0, 1, 1])
  >>> print(f"{info_nce(x, y, x, y, temperature=1.0, exclude_diagonal=True):.4f}")
  0.5514
  """
  arrays.check_option("denominator", denominator, ("negatives", "all"))
  arrays.check_reduction(reduction)
  arrays.check_positive("temperature", temperature)
  arrays.check_positive("block", block)
  a = _labelled("anchor", anchors, anchor_labels, anchor_weights)
  b = _labelled("contrast", contrasts, contrast_labels, contrast_weights)
  arrays.check_rows("contrasts", b.embeddings, a.embeddings.shape[-1], of="anchors")
  num_anchors = len(a.labels)
  if exclude_diagonal and num_anchors != len(b.labels):
    raise ValueError(
      f"exclude_diagonal needs as many contrasts as anchors: {len(b.labels)} and {num_anchors} came"
    )
  valid = b.weights > 0
  positives = jax.ops.segment_sum(valid.astype(jnp.int32), b.labels, num_segments=NUM_IDS)[a.labels]
  partner = jnp.full(num_anchors, -1)
  if exclude_diagonal:
    partner = jnp.arange(num_anchors)
    positives = positives - (valid & (a.labels == b.labels))
  weight = jnp.where(positives > 0, a.weights, 0.0)
  layout = anchor_blocks.Layout.of(anchors, block)
  arguments = (
    layout.split(a.embeddings / temperature),
    b.embeddings,
    _FixedAnchors(layout.split(a.labels), layout.split(partner)),
    _FixedContrasts(b.labels, b.weights),
  )
  rows = functools.partial(_rows, with_positives=denominator == "all")
  values = anchor_blocks.reduce(layout, rows, arguments, weight, reduction)
  return values if reduction == "mean" else values.reshape(anchor_labels.shape)


class _FixedAnchors(NamedTuple):
  """The constants of a block of n anchors."""

  labels: jax.Array  # [n]
  partner: jax.Array  # [n] int: the contrast to leave out, -1 for none


class _FixedContrasts(NamedTuple):
  """The constants of all contrasts."""

  labels: jax.Array  # [M]
  weights: jax.Array  # [M]


def _rows(
  x: jax.Array,
  contrasts: jax.Array,
  anchors: _FixedAnchors,
  fixed: _FixedContrasts,
  *,
  with_positives: bool,
) -> jax.Array:
  """The losses [n] of a block of anchors x [n, A], which are divided by the temperature already."""
  valid = (fixed.weights > 0) & (jnp.arange(len(fixed.labels)) != anchors.partner[:, None])
  positive = valid & (anchors.labels[:, None] == fixed.labels)
  competitor = valid if with_positives else valid & ~positive
  share = jnp.where(positive, fixed.weights, 0.0)
  total = jnp.sum(share, 1)
  s = arrays.matmul(x, contrasts.T)
  # A finite floor instead of -inf: an anchor without competitors must not give NaN gradients.
  log_rest = jax.nn.logsumexp(jnp.where(competitor, s, -1e30), 1)[:, None]
  nll = log_rest - s if with_positives else jax.nn.softplus(log_rest - s)
  return jnp.sum(jnp.where(positive, share * nll, 0.0), 1) / jnp.where(total > 0, total, 1.0)


def _labelled(
  name: str, embeddings: jax.Array, labels: jax.Array, weights: jax.Array | None
) -> arrays.Pixels:
  """Checks under the caller's names; every label but negative ones and 255 is valid."""
  arrays.check_float(f"{name}s", embeddings, min_ndim=2)
  arrays.check_labels(f"{name}_labels", labels, embeddings.shape[:-1], of=f"{name}s")
  if weights is not None:
    arrays.check_shape(f"{name}_weights", weights, labels.shape, of=f"{name}s")
  return arrays.pixels(embeddings, labels, weights, num_classes=NUM_IDS)


def supervised_pixel_contrast(
  embeddings: jax.Array,
  labels: jax.Array,
  key: jax.Array,
  *,
  num_classes: int,
  temperature: float = 0.1,
  anchors_per_class: int = 64,
  denominator: Denominator = "negatives",
) -> jax.Array:
  """`info_nce` of a random sample of every class, contrasted with itself.

  Args:
    embeddings: [..., A], any float dtype; L2-normalised inside (a zero vector stays zero).
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    key: Draws `anchors_per_class` pixels of each class without replacement, or all if it has fewer.
    num_classes: C.
    temperature: Divides the cosines.
    anchors_per_class: The most pixels drawn per class; classes that have so many weigh alike.
    denominator: What competes with a positive, "negatives" or "all", as in `info_nce`.

  Returns:
    float32 scalar. No class with two pixels: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: Wang et al., Exploring Cross-Image Pixel Contrast for Semantic Segmentation, ICCV 2021,
  eq. 4, without its memory and hard sampling.

  >>> import jax, jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 8, 0), jnp.repeat(jnp.arange(2), 8)
  >>> loss = supervised_pixel_contrast(
  ...   x, y, jax.random.key(0), num_classes=2, temperature=1.0, anchors_per_class=4
  ... )
  >>> print(f"{loss:.4f}")
  0.9048
  """
  arrays.check_positive("anchors_per_class", anchors_per_class)
  x, y, w = arrays.pixels(embeddings, labels, None, num_classes)
  order = jax.random.uniform(key, y.shape)
  count = min(anchors_per_class, len(y))
  is_class = (y == jnp.arange(num_classes)[:, None]) & (w > 0)  # [C, N]
  score, chosen = jax.lax.top_k(jnp.where(is_class, order, -1.0), count)  # [C, count]
  chosen_labels = jnp.where(score >= 0, jnp.arange(num_classes)[:, None], 255).reshape(-1)
  sample = arrays.l2_normalize(x[chosen.reshape(-1)])
  return info_nce(
    sample,
    chosen_labels,
    sample,
    chosen_labels,
    temperature=temperature,
    denominator=denominator,
    exclude_diagonal=True,
  )
