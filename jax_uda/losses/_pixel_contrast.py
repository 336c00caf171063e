"""Contrast of every pixel of a batch with every other one (CLUDA), in one resolution or in two.

Both losses are InfoNCE of each positive against all negatives of its anchor, without temperature.
What is peculiar to the published code is an option, and the default follows that code, except for
the pixel order.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.losses._pixel_contrast_grid import FusedGrid
from jax_uda.ops import anchor_blocks, arrays
from jax_uda.ops.arrays import Reduction

PixelOrder = Literal["aligned", "interleaved"]


class MultiresParts(NamedTuple):
  """The multi-resolution loss and the terms of its anchors, for figures and curves.

  Attributes:
    loss: float32, the loss: half of `low + high`, or its mean over anchors.
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
  reduction: Reduction = "mean",
) -> jax.Array:
  """Mean over all pixels i of `1 / max(1, |P(i)|) sum_{j in P(i)} q_i q_j l_ij`.

  With cosines s, P(i) = {j != i: y_j = y_i} and N(i) = {k: y_k != y_i}:

    l_ij = -log( exp(s_ij) / (exp(s_ij) + sum_{k in N(i)} exp(s_ik)) )

  An anchor without positives adds 0 but counts in the mean; without negatives l is exactly 0.

  Args:
    embeddings: [B,h,w,A] (N pixels in all), any float dtype; L2-normalised inside (a zero vector
      stays zero and gets gradient 0). Any leading axes will do if `pixel_order` is "aligned".
    labels: y, [B,h,w] integers.
    weights: q, [B,h,w] float32 or None (all 1); constant. A pixel of weight 0 remains a negative.
    pixel_order: "aligned", or "interleaved" to read the embeddings pixel by pixel and the labels
      image by image, so that with two images or more hardly a pixel meets its own label: that is
      what the published code does.
    ignore_is_class: Whether 255 is a class like any other. Otherwise pixels labelled 255 or below 0
      are left out as anchors, positives and negatives, and from the mean.
    exclude_things: Classes whose pixels are no anchors and do not count in the mean; other anchors are
      still contrasted with them.
    block: The number of anchors at a time, all images together: memory grows with block * N, not
      with N * N.
    reduction: "mean", or "none" for the terms of the single anchors, q_i included.

  Returns:
    float32, a scalar or [B,h,w]. No valid pair: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CLUDA (Vayyat et al., 2022), the loss on DAFormer's fused map; golden `cluda/single_cl`.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 2, 0), jnp.array([0, 0, 1, 1])
  >>> print(f"{pixel_contrast(x, y):.4f}")  # log(1 + 2 / e)
  0.5514
  """
  arrays.check_reduction(reduction)
  _check(embeddings, labels, weights, pixel_order, block)
  contrasts = _contrasts(labels, weights, ignore_is_class)
  layout = anchor_blocks.Layout.of(embeddings, block)
  x = _unit(embeddings, pixel_order)
  arguments = (layout.split(x), x, _split_anchors(layout, contrasts), contrasts)
  is_anchor = _anchor_weights(contrasts, exclude_things)
  values = anchor_blocks.reduce(layout, _single_rows, arguments, is_anchor, reduction)
  return values if reduction == "mean" else values.reshape(labels.shape)


def multires_pixel_contrast(
  maps: FusedGrid,
  *,
  pixel_order: PixelOrder = "aligned",
  outside_crop_weight: float = 0.0,
  hr_mask_from_label: bool = True,
  ignore_is_class: bool = True,
  exclude_things: Sequence[int] = (),
  block: int = 256,
  reduction: Reduction = "mean",
  return_parts: bool = False,
) -> jax.Array | MultiresParts:
  """`pixel_contrast` of the low resolution with itself and with the high one, blended pair by pair.

    1/2 mean_i 1 / max(1, |P(i)|) sum_{j in P(i)} q_i q_j (w_ij l_ij + (1 - w_ij) h_ij)

  l is as in `pixel_contrast`, h is the same with the cosines of low-resolution anchors and
  high-resolution contrasts (again without j = i), and w_ij = a_i a_j in the high-resolution crop.
  The blend is learned: a goes where its term is smaller.

  Args:
    maps: The embeddings of both resolutions, the attention a, the labels y, the crop's mask and the
      weights q, [B,h,w,A] and [B,h,w] (N pixels in all). Both embeddings are L2-normalised inside,
      and the gradient of a zero vector is 0. Any leading axes will do if `pixel_order` is "aligned".
    pixel_order: "aligned" or "interleaved", for both embeddings; see `pixel_contrast`.
    outside_crop_weight: w of anchors outside the crop: 0 contrasts them with the high resolution
      (mostly zero vectors there), 1 with the low one, which would be natural.
    hr_mask_from_label: Whether anchors of class 0 are outside, as in the reference, which multiplies
      labels by the mask.
    ignore_is_class: Whether 255 is a class like any other; see `pixel_contrast`.
    exclude_things: Classes whose pixels are no anchors and do not count in the mean; other anchors are
      still contrasted with them.
    block: The number of anchors at a time, all images together.
    reduction: "mean", or "none" for the terms of the single anchors.
    return_parts: Whether to return the terms of both resolutions too.

  Returns:
    float32, a scalar or [B,h,w], or MultiresParts. No valid pair: value and gradient are exactly 0.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CLUDA (Vayyat et al., 2022), the loss on HRDA; golden `cluda/multires_cl`.

  >>> import jax.numpy as jnp
  >>> x, y = jnp.repeat(jnp.eye(2), 2, 0), jnp.array([1, 1, 2, 2])
  >>> maps = FusedGrid(x, x, jnp.full(4, 0.5), y, jnp.ones(4, bool))
  >>> print(f"{multires_pixel_contrast(maps):.4f}")  # both terms alike: half of one
  0.2757
  """
  arrays.check_reduction(reduction)
  _check(maps.embeddings, maps.labels, maps.weights, pixel_order, block)
  _check_multires(maps, outside_crop_weight)
  contrasts = _contrasts(maps.labels, maps.weights, ignore_is_class)
  inside = maps.hr_mask.reshape(-1) != 0
  if hr_mask_from_label:
    inside = inside & (contrasts.labels != 0)
  layout = anchor_blocks.Layout.of(maps.embeddings, block)
  low = _unit(maps.embeddings, pixel_order)
  high = _unit(maps.hr_embeddings, pixel_order)
  attention = maps.attention.reshape(-1).astype(jnp.float32)
  outside = jnp.where(inside, 0.0, outside_crop_weight)
  arguments = (
    _TrainedAnchors(layout.split(low), layout.split(jnp.where(inside, attention, 0.0))),
    _TrainedContrasts(low, high, attention),
    _MultiresAnchors(_split_anchors(layout, contrasts), layout.split(outside)),
    contrasts,
  )
  is_anchor = _anchor_weights(contrasts, exclude_things)
  as_map = lambda rows: jnp.where(is_anchor > 0, layout.join(rows), 0.0).reshape(maps.labels.shape)
  if reduction == "none":
    terms = jax.tree.map(as_map, anchor_blocks.each(_multires_rows, *arguments))
    loss = 0.5 * (terms.low + terms.high)
  else:
    value, rows = anchor_blocks.total(_multires_rows, *arguments, layout.split(is_anchor))
    terms = jax.tree.map(as_map, rows)
    loss = 0.5 * value / jnp.maximum(jnp.sum(is_anchor), 1)
  return MultiresParts(loss, *jax.lax.stop_gradient(terms)) if return_parts else loss


class _Contrasts(NamedTuple):
  """The constants of the N contrasts."""

  place: jax.Array  # [N] int32
  labels: jax.Array  # [N]
  used: jax.Array  # [N] bool
  weights: jax.Array  # [N] float32


class _Anchors(NamedTuple):
  """The constants of the anchors, in blocks."""

  place: jax.Array  # [steps, rows] int32
  labels: jax.Array
  weights: jax.Array


class _MultiresAnchors(NamedTuple):
  """The constants of the anchors of two resolutions."""

  anchors: _Anchors
  outside: jax.Array  # [steps, rows] float32: w of anchors outside the crop, 0 inside


class _TrainedAnchors(NamedTuple):
  """The anchors of two resolutions that receive a gradient."""

  low: jax.Array  # [steps, rows, A] unit vectors
  attention: jax.Array  # [steps, rows], 0 outside the crop


class _TrainedContrasts(NamedTuple):
  """The contrasts of two resolutions that receive a gradient."""

  low: jax.Array  # [N, A] unit vectors
  high: jax.Array  # [N, A] unit or zero vectors
  attention: jax.Array  # [N]


class _Terms(NamedTuple):
  """Each anchor's term in both resolutions."""

  low: jax.Array
  high: jax.Array


def _single_rows(
  x: jax.Array, others: jax.Array, anchors: _Anchors, contrasts: _Contrasts
) -> jax.Array:
  """The terms [rows] of a block of anchors x [rows, A] among `others` [N, A]."""
  same, share = _pairs(anchors, contrasts)
  return jnp.sum(share * _nll(x, others, same, contrasts.used), 1)


def _multires_rows(
  x: _TrainedAnchors, others: _TrainedContrasts, fixed: _MultiresAnchors, contrasts: _Contrasts
) -> _Terms:
  """The terms [rows] of a block of anchors in both resolutions."""
  same, share = _pairs(fixed.anchors, contrasts)
  w = x.attention[:, None] * others.attention + fixed.outside[:, None]  # [rows, N]
  low = _nll(x.low, others.low, same, contrasts.used)
  high = _nll(x.low, others.high, same, contrasts.used)
  return _Terms(jnp.sum(share * w * low, 1), jnp.sum(share * (1 - w) * high, 1))


def _pairs(anchors: _Anchors, contrasts: _Contrasts) -> tuple[jax.Array, jax.Array]:
  """[rows, N]: whether the labels agree; the share of a positive, q_i q_j / |P(i)|, 0 elsewhere."""
  same = anchors.labels[:, None] == contrasts.labels
  positive = same & contrasts.used & (anchors.place[:, None] != contrasts.place)
  scale = anchors.weights / jnp.maximum(jnp.sum(positive, 1), 1)
  return same, jnp.where(positive, scale[:, None] * contrasts.weights, 0.0)


def _nll(x: jax.Array, z: jax.Array, same: jax.Array, used: jax.Array) -> jax.Array:
  """[rows, N]: -log p of each contrast, were it the positive, of x [rows, A] among z [N, A]."""
  exp = jnp.exp(arrays.matmul(x, z.T))  # of cosines: no shift is needed
  negatives = jnp.sum(jnp.where(used & ~same, exp, 0.0), 1, keepdims=True)
  return jnp.log1p(negatives / exp)


def _contrasts(labels: jax.Array, weights: jax.Array | None, ignore_is_class: bool) -> _Contrasts:
  y = labels.reshape(-1)
  q = arrays.constant_weights(weights, labels.shape, of="labels").reshape(-1)
  used = jnp.full(y.shape, True) if ignore_is_class else (y >= 0) & (y != 255)
  return _Contrasts(jnp.arange(len(y), dtype=jnp.int32), y, used, q)


def _anchor_weights(contrasts: _Contrasts, exclude: Sequence[int]) -> jax.Array:
  """[N] float32: 1 for a pixel that is an anchor, else 0."""
  excluded = jnp.isin(contrasts.labels, jnp.array(tuple(exclude), contrasts.labels.dtype))
  return (contrasts.used & ~excluded).astype(jnp.float32)


def _split_anchors(layout: anchor_blocks.Layout, contrasts: _Contrasts) -> _Anchors:
  """The anchors' part of what is known of the contrasts: every pixel is both."""
  return _Anchors(*map(layout.split, (contrasts.place, contrasts.labels, contrasts.weights)))


def _unit(x: jax.Array, pixel_order: PixelOrder) -> jax.Array:
  """Unit vectors [N, A] of x [..., A], in the labels' order or in the published code's."""
  if pixel_order == "interleaved":
    x = jnp.moveaxis(x.reshape(x.shape[0], -1, x.shape[-1]), 0, 1)
  return arrays.l2_normalize(x.reshape(-1, x.shape[-1]))


def _check(
  embeddings: jax.Array,
  labels: jax.Array,
  weights: jax.Array | None,
  pixel_order: PixelOrder,
  block: int,
) -> None:
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_labels("labels", labels, embeddings.shape[:-1], of="embeddings")
  if weights is not None:
    arrays.check_shape("weights", weights, embeddings.shape[:-1], of="embeddings")
  arrays.check_option("pixel_order", pixel_order, ("aligned", "interleaved"))
  if pixel_order == "interleaved" and embeddings.ndim != 4:
    raise ValueError(
      f"embeddings has shape {embeddings.shape}; pixel_order 'interleaved' needs maps [B,h,w,A]"
    )
  arrays.check_positive("block", block)


def _check_multires(maps: FusedGrid, outside_crop_weight: float) -> None:
  shape = maps.embeddings.shape
  arrays.check_float("hr_embeddings", maps.hr_embeddings)
  arrays.check_shape("hr_embeddings", maps.hr_embeddings, shape, of="embeddings")
  arrays.check_float("attention", maps.attention)
  arrays.check_shape("attention", maps.attention, shape[:-1], of="embeddings")
  arrays.check_shape("hr_mask", maps.hr_mask, shape[:-1], of="embeddings")
  if not 0 <= outside_crop_weight <= 1:
    raise ValueError(f"outside_crop_weight = {outside_crop_weight}; expected 0 to 1")
