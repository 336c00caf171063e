"""Every pixel of a batch against every other one (CLUDA): one resolution, or low against high.

Both losses are InfoNCE of each positive against all negatives of its anchor, without temperature.
Their own peculiarities are options whose defaults are the reference's, but for the pixel order.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays

PixelOrder = Literal["aligned", "interleaved"]


class MultiresParts(NamedTuple):
  """The multi-resolution loss and what it is made of.

  Attributes:
    loss: float32 scalar; half the mean over anchors of `low + high`.
    low: [...] float32, each anchor's term among low-resolution embeddings; no gradient.
    high: [...] float32, each anchor's term against high-resolution embeddings; no gradient.
  """

  loss: jax.Array
  low: jax.Array
  high: jax.Array


def pixel_contrast(
  embeddings: jax.Array,
  labels: jax.Array,
  *,
  weights: jax.Array | None = None,
  pixel_order: PixelOrder = "aligned",
  ignore_is_class: bool = True,
  exclude_things: Sequence[int] = (),
  block: int = 256,
) -> jax.Array:
  """Mean over all pixels i of `1 / max(1, |P(i)|) sum_{j in P(i)} q_i q_j l_ij`.

  With cosines s, P(i) = {j != i: y_j = y_i} and N(i) = {k: y_k != y_i}:

    l_ij = -log( exp(s_ij) / (exp(s_ij) + sum_{k in N(i)} exp(s_ik)) )

  An anchor without positives adds 0 but counts in the mean; without negatives l is exactly 0.

  Args:
    embeddings: [B,h,w,A] (N pixels in all), any float dtype; L2-normalised inside (a zero vector
      stays zero and gets gradient 0). Any leading axes will do if `pixel_order` is "aligned".
    labels: [B,h,w] integers.
    weights: q, [B,h,w] float32 or None (all 1); constant. A pixel of weight 0 remains a negative.
    pixel_order: "interleaved" reads the embeddings pixel by pixel and the labels image by image, so
      that with two images or more hardly a pixel meets its own label: what the published code does.
    ignore_is_class: Takes 255 for a class like any other. False leaves out pixels labelled 255 or
      below 0 as anchors, positives and negatives, and from the mean.
    exclude_things: Classes whose pixels are no anchors and not in the mean; contrasts all the same.
    block: Anchors at a time, all images together: memory grows with block * N, not with N * N.

  Returns:
    float32 scalar. No valid pair: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CLUDA (Vayyat et al., 2022), the loss on DAFormer's fused map; golden `cluda/single_cl`.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 2, 0), jnp.array([0, 0, 1, 1])
  >>> print(f"{pixel_contrast(x, y):.4f}")  # log(1 + 2 / e)
  0.5514
  """
  _check(embeddings, labels, weights, pixel_order, block)
  fixed = _fixed_contrasts(labels, weights, ignore_is_class)
  keep = _kept_anchors(fixed, exclude_things)
  layout = _layout(embeddings, block)
  x = _unit(embeddings, pixel_order)
  value, _ = anchor_blocks.total(
    _single_block,
    layout.split(x),
    x,
    _split_fixed(layout, fixed, keep),
    fixed,
  )
  return value / jnp.maximum(jnp.sum(keep), 1)


def multires_pixel_contrast(
  embeddings: jax.Array,
  hr_embeddings: jax.Array,
  attention: jax.Array,
  labels: jax.Array,
  hr_mask: jax.Array,
  *,
  weights: jax.Array | None = None,
  pixel_order: PixelOrder = "aligned",
  outside_crop_weight: float = 0.0,
  hr_mask_from_label: bool = True,
  ignore_is_class: bool = True,
  exclude_things: Sequence[int] = (),
  block: int = 256,
  return_parts: bool = False,
) -> jax.Array | MultiresParts:
  """`pixel_contrast` of the low resolution with itself and with the high one, blended pair by pair.

    1/2 mean_i 1 / max(1, |P(i)|) sum_{j in P(i)} q_i q_j (w_ij l_ij + (1 - w_ij) h_ij)

  l is as in `pixel_contrast`, h the same with the cosines of low-resolution anchors and
  high-resolution contrasts (again without j = i), and w_ij = a_i a_j in the high-resolution crop.
  The blend is learned: a goes where its term is smaller.

  Args:
    embeddings: [B,h,w,A] of the whole image at low resolution (N pixels in all), any float dtype;
      L2-normalised inside. Any leading axes will do if `pixel_order` is "aligned".
    hr_embeddings: [B,h,w,A], zero vectors outside the high-resolution crop. The gradient of a zero
      vector is 0.
    attention: a, [B,h,w] floats in [0, 1].
    labels: [B,h,w] integers.
    hr_mask: [B,h,w] bool or integers, nonzero inside the crop; constant.
    weights: q, as in `pixel_contrast`.
    pixel_order: As in `pixel_contrast`; of both embeddings.
    outside_crop_weight: w of anchors outside the crop: 0 contrasts them with the high resolution
      (mostly zero vectors there), 1 with the low one, which would be natural.
    hr_mask_from_label: Takes anchors of class 0 for outside, as the reference, which multiplies
      labels by the mask.
    ignore_is_class: As in `pixel_contrast`.
    exclude_things: As in `pixel_contrast`.
    block: As in `pixel_contrast`.
    return_parts: Returns the anchors' terms too, for pictures and curves.

  Returns:
    float32 scalar, or MultiresParts. No valid pair: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CLUDA (Vayyat et al., 2022), the loss on HRDA; golden `cluda/multires_cl`.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 2, 0), jnp.array([1, 1, 2, 2])
  >>> a, inside = jnp.full(4, 0.5), jnp.ones(4, bool)
  >>> print(f"{multires_pixel_contrast(x, x, a, y, inside):.4f}")  # both terms alike: half of one
  0.2757
  """
  _check(embeddings, labels, weights, pixel_order, block)
  _check_multires(embeddings, hr_embeddings, attention, hr_mask, outside_crop_weight)
  fixed = _fixed_contrasts(labels, weights, ignore_is_class)
  keep = _kept_anchors(fixed, exclude_things)
  inside = hr_mask.reshape(-1) != 0
  if hr_mask_from_label:
    inside = inside & (fixed.labels != 0)
  layout = _layout(embeddings, block)
  low, high = _unit(embeddings, pixel_order), _unit(hr_embeddings, pixel_order)
  a = attention.reshape(-1).astype(jnp.float32)
  outside = jnp.where(inside, 0.0, outside_crop_weight)
  value, (low_terms, high_terms) = anchor_blocks.total(
    _multires_block,
    (layout.split(low), layout.split(jnp.where(inside, a, 0.0))),
    (low, high, a),
    (_split_fixed(layout, fixed, keep), layout.split(outside)),
    fixed,
  )
  loss = 0.5 * value / jnp.maximum(jnp.sum(keep), 1)
  if not return_parts:
    return loss
  as_map = lambda x: jax.lax.stop_gradient(layout.join(x).reshape(labels.shape))
  return MultiresParts(loss, as_map(low_terms), as_map(high_terms))


class _Contrasts(NamedTuple):
  """What is constant of the N contrasts."""

  index: jax.Array  # [N] int32
  labels: jax.Array  # [N]
  used: jax.Array  # [N] bool
  weights: jax.Array  # [N] float32


class _Anchors(NamedTuple):
  """What is constant of the anchors, in blocks; rows of padding are not kept."""

  index: jax.Array  # [steps, rows] int32
  labels: jax.Array
  weights: jax.Array
  keep: jax.Array  # bool


def _single_block(x, contrasts, anchors: _Anchors, fixed: _Contrasts):
  same, share = _pairs(anchors, fixed)
  nll = _nll(x, contrasts, same, fixed.used)
  return jnp.sum(share * nll), None


def _multires_block(trained, contrasts, constant, fixed: _Contrasts):
  (x, a_i), (low, high, a_j), (anchors, outside) = trained, contrasts, constant
  same, share = _pairs(anchors, fixed)
  w = a_i[:, None] * a_j + outside[:, None]
  low_terms = jnp.sum(share * w * _nll(x, low, same, fixed.used), 1)
  high_terms = jnp.sum(share * (1 - w) * _nll(x, high, same, fixed.used), 1)
  return jnp.sum(low_terms) + jnp.sum(high_terms), (low_terms, high_terms)


def _pairs(anchors: _Anchors, fixed: _Contrasts) -> tuple[jax.Array, jax.Array]:
  """[rows, N]: whether the labels agree; what a positive counts, q_i q_j / |P(i)|, 0 elsewhere."""
  same = anchors.labels[:, None] == fixed.labels
  positive = same & fixed.used & (anchors.index[:, None] != fixed.index)
  count = jnp.sum(positive, 1)
  scale = jnp.where(anchors.keep, anchors.weights, 0.0) / jnp.maximum(count, 1)
  return same, jnp.where(positive, scale[:, None] * fixed.weights, 0.0)


def _nll(x: jax.Array, z: jax.Array, same: jax.Array, used: jax.Array) -> jax.Array:
  """[rows, N]: -log p of each contrast, were it the positive, of x [rows, A] among z [N, A]."""
  exp = jnp.exp(arrays.matmul(x, z.T))  # of cosines: no shift is needed
  negatives = jnp.sum(jnp.where(used & ~same, exp, 0.0), 1, keepdims=True)
  return jnp.log1p(negatives / exp)


def _fixed_contrasts(labels, weights, ignore_is_class: bool) -> _Contrasts:
  y = labels.reshape(-1)
  q = jnp.ones(y.shape) if weights is None else weights.reshape(-1).astype(jnp.float32)
  used = jnp.full(y.shape, True) if ignore_is_class else (y >= 0) & (y != 255)
  index = jnp.arange(len(y), dtype=jnp.int32)
  return _Contrasts(index, y, used, jax.lax.stop_gradient(q))


def _kept_anchors(fixed: _Contrasts, exclude: Sequence[int]) -> jax.Array:
  return fixed.used & ~jnp.isin(fixed.labels, jnp.array(tuple(exclude), fixed.labels.dtype))


def _split_fixed(layout: anchor_blocks.Layout, fixed: _Contrasts, keep: jax.Array) -> _Anchors:
  rows = (fixed.index, fixed.labels, fixed.weights, keep)
  return _Anchors(*map(layout.split, rows))


def _layout(embeddings: jax.Array, block: int) -> anchor_blocks.Layout:
  num_pixels = embeddings.size // embeddings.shape[-1]
  groups = embeddings.shape[0] if embeddings.ndim > 2 else 1
  return anchor_blocks.Layout(groups, num_pixels // groups, block)


def _unit(x: jax.Array, pixel_order: PixelOrder) -> jax.Array:
  """x [..., A] as unit vectors [N, A] in the labels' order, or in the order that is read for it."""
  if pixel_order == "interleaved":
    x = jnp.moveaxis(x.reshape(x.shape[0], -1, x.shape[-1]), 0, 1)
  return arrays.l2_normalize(x.reshape(-1, x.shape[-1]))


def _check(embeddings, labels, weights, pixel_order, block) -> None:
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_labels("labels", labels, embeddings.shape[:-1], of="embeddings")
  if weights is not None:
    arrays.check_shape("weights", weights, embeddings.shape[:-1], of="embeddings")
  if pixel_order not in ("aligned", "interleaved"):
    raise ValueError(f"pixel_order = {pixel_order!r}; expected 'aligned' or 'interleaved'")
  if pixel_order == "interleaved" and embeddings.ndim != 4:
    raise ValueError(
      f"embeddings has shape {embeddings.shape}; pixel_order 'interleaved' needs maps [B,h,w,A]"
    )
  arrays.check_positive("block", block)


def _check_multires(embeddings, hr_embeddings, attention, hr_mask, outside_crop_weight) -> None:
  arrays.check_float("hr_embeddings", hr_embeddings)
  arrays.check_shape("hr_embeddings", hr_embeddings, embeddings.shape, of="embeddings")
  arrays.check_float("attention", attention)
  arrays.check_shape("attention", attention, embeddings.shape[:-1], of="embeddings")
  arrays.check_shape("hr_mask", hr_mask, embeddings.shape[:-1], of="embeddings")
  if not 0 <= outside_crop_weight <= 1:
    raise ValueError(f"outside_crop_weight = {outside_crop_weight}; expected 0 to 1")
