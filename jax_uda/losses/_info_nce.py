"""InfoNCE between two sets of labelled vectors, by chunks of anchors, and two losses made of it."""

from typing import Literal

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays

NUM_IDS = 255  # every id but 255 = ignore is a class


def info_nce(
  anchors: jax.Array,
  anchor_labels: jax.Array,
  contrasts: jax.Array,
  contrast_labels: jax.Array,
  *,
  temperature: float,
  anchor_weights: jax.Array | None = None,
  contrast_weights: jax.Array | None = None,
  denominator: Literal["negatives", "all"] = "negatives",
  exclude_diagonal: bool = False,
  chunk: int = 1024,
) -> jax.Array:
  """Weighted mean over anchors of the mean over positives of `-log p(positive)`.

  With s_ij = a_i . b_j / t, positives P(i) = {j: same label}, negatives Q(i) = {j: another label}:

    l_i = 1 / |P(i)| sum_{j in P(i)} lse({s_ij} + {s_ik: k in D}) - s_ij

  where D = Q(i) for "negatives" (one positive against all negatives; Wang et al., ICCV 2021,
  eq. 4) and D = P(i) + Q(i) without j itself for "all" (SupCon L_out; Khosla et al., NeurIPS 2020,
  eq. 2). An anchor without positives is left out of the mean.

  Args:
    anchors: [..., A] (N in all), any float dtype; used as given, usually unit vectors.
    anchor_labels: [...] integers; negative or 255 is ignored.
    contrasts: [..., A] (M in all); stop its gradient before the call if it is a memory.
    contrast_labels: [...] integers, likewise.
    temperature: Divides the similarities.
    anchor_weights: [...] float32 or None: weights of the mean over anchors; constant.
    contrast_weights: [...] float32 or None: a positive's share in the mean over P(i); weight 0
      leaves the contrast out altogether; constant.
    denominator: See above.
    exclude_diagonal: Leaves out pair (i, i): for a set contrasted with itself.
    chunk: Anchors at a time, so that memory grows with chunk * M and not with N * M.

  Returns:
    float32 scalar. No valid pair: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 2, 0), jnp.array([0, 0, 1, 1])
  >>> print(f"{info_nce(x, y, x, y, temperature=1.0, exclude_diagonal=True):.4f}")
  0.5514
  """
  if denominator not in ("negatives", "all"):
    raise ValueError(f"denominator = {denominator!r}; expected 'negatives' or 'all'")
  arrays.check_positive("temperature", temperature)
  arrays.check_positive("chunk", chunk)
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
  groups = anchors.shape[0] if anchors.ndim > 2 else 1  # blocks share the work of every group
  layout = anchor_blocks.Layout(groups, num_anchors // groups, chunk)
  total, _ = anchor_blocks.total(
    _all_block if denominator == "all" else _negatives_block,
    layout.split(a.embeddings / temperature),
    b.embeddings,
    jax.tree.map(layout.split, (a.labels, partner, weight)),
    (b.labels, b.weights),
  )
  return total / jnp.where(jnp.sum(weight) > 0, jnp.sum(weight), 1.0)


def _negatives_block(x, contrasts, anchors, contrast_side):
  return _block_sum(x, contrasts, anchors, contrast_side, with_positives=False), None


def _all_block(x, contrasts, anchors, contrast_side):
  return _block_sum(x, contrasts, anchors, contrast_side, with_positives=True), None


def _block_sum(x, contrasts, anchors, contrast_side, *, with_positives: bool) -> jax.Array:
  """Sum of weight * loss over a block of anchors x [n, A]."""
  (label, partner, weight), (contrast_label, contrast_weight) = anchors, contrast_side
  valid = (contrast_weight > 0) & (jnp.arange(len(contrast_label)) != partner[:, None])
  positive = valid & (label[:, None] == contrast_label)
  competitor = valid if with_positives else valid & ~positive
  share = jnp.where(positive, contrast_weight, 0.0)
  total = jnp.sum(share, 1)
  s = arrays.matmul(x, contrasts.T)
  # A finite floor instead of -inf: an anchor without competitors must not give NaN gradients.
  log_rest = jax.nn.logsumexp(jnp.where(competitor, s, -1e30), 1)[:, None]
  nll = log_rest - s if with_positives else jax.nn.softplus(log_rest - s)
  per_anchor = jnp.sum(jnp.where(positive, share * nll, 0.0), 1)
  return jnp.sum(jnp.where(weight > 0, weight * per_anchor / jnp.where(total > 0, total, 1.0), 0.0))


def _labelled(name, embeddings, labels, weights) -> arrays.Pixels:
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
  denominator: Literal["negatives", "all"] = "negatives",
) -> jax.Array:
  """`info_nce` of a random sample of every class, contrasted with itself.

  Args:
    embeddings: [..., A], any float dtype; L2-normalised inside (a zero vector stays zero).
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    key: Draws `anchors_per_class` pixels of each class without replacement, or all if it has fewer.
    num_classes: C.
    temperature: Divides the cosines.
    anchors_per_class: Classes count alike in the mean when they have that many pixels.
    denominator: See `info_nce`.

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
