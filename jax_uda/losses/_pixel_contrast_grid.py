"""The grid that CLUDA contrasts on, sampled from the maps of a two-resolution (HRDA) head.

The reference upsamples the low-resolution map, inserts the high-resolution one into zeros of the
same size, and samples both: [B,256,256,256] each. But every step is linear and separable, so the
steps are one small matrix per axis, and the insertion is a choice of the matrix's columns.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays, resize


class FusedGrid(NamedTuple):
  """What `multires_pixel_contrast` compares, on a grid [B,g,g'].

  Attributes:
    embeddings: [B,g,g',A] floats of the whole image at low resolution.
    hr_embeddings: [B,g,g',A] floats of the high-resolution crop, zero vectors outside.
    attention: [B,g,g'] floats in [0, 1], the share of the low resolution.
    labels: [B,g,g'] integers.
    hr_mask: [B,g,g'] bool or integers, nonzero inside the crop; constant.
    weights: [B,g,g'] floats, constant; None means all 1.
  """

  embeddings: jax.Array
  hr_embeddings: jax.Array
  attention: jax.Array
  labels: jax.Array
  hr_mask: jax.Array
  weights: jax.Array | None = None


def fused_grid(
  low: jax.Array,
  high: jax.Array,
  attention_logits: jax.Array,
  labels: jax.Array,
  boxes: jax.Array,
  *,
  weights: jax.Array | None = None,
  grid: resize.Size = (65, 65),
  lr_scale: float = 0.5,
) -> FusedGrid:
  """Samples both resolutions, the attention, the labels and the weights on one grid.

  With R the bilinear resizing of an axis, h the size of `low` and f = h / lr_scale:

    embeddings = R(grid <- f) R(f <- h) low            corners aligned in both
    hr_embeddings = R(grid <- f)[:, box] high           corners aligned, blends with 0 at the border
    attention = R(grid <- f) R(f <- h) sigmoid(logits)  corners aligned in the first only
    weights = R(grid <- H) weights                      corners aligned
    labels, hr_mask = pixel floor(i * size / grid)      of the labels', and of `low`'s size

  Embeddings lie at aligned corners, labels at nearest pixels: up to 3 pixels of 256 apart, as in
  the reference. The full-size maps are never built.

  Args:
    low: [B,h,w,A], the fused decoder map of the downscaled image, any float dtype.
    high: [B,ch,cw,A], the fused decoder map of the crop, whose stride is `lr_scale` that of `low`.
    attention_logits: [B,h,w,1] floats.
    labels: [B,H,W] integers, H and W multiples of h and w; constant.
    boxes: [B,4] int32 (y1, y2, x1, x2) in pixels of the labels, multiples of the stride H / h, as
      large as `high` and inside the image (they may be traced, so nobody checks); constant.
    weights: [B,H,W] float32 or None; constant.
    grid: (height, width) of the grid.
    lr_scale: The size of `low` divided by the size of the full map.

  Returns:
    FusedGrid in float32; its weights are None if there were none.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: CLUDA (Vayyat et al., 2022), its HRDA decode head; golden `cluda/cl_grid`.

  >>> import jax.numpy as jnp
  >>> low, high, logits = jnp.ones((1, 4, 4, 3)), jnp.ones((1, 4, 4, 3)), jnp.zeros((1, 4, 4, 1))
  >>> out = fused_grid(
  ...   low, high, logits, jnp.zeros((1, 32, 32), int), jnp.array([[0, 16, 8, 24]]), grid=(4, 4)
  ... )
  >>> out.hr_mask[0, 0].tolist()
  [False, True, True, False]
  """
  full = _full_size(low, lr_scale)
  _check(low, high, attention_logits, labels, boxes, weights, full)
  image = labels.shape[1:]
  boxes = jax.lax.stop_gradient(boxes).reshape(-1, 2, 2)  # [B, axis, (start, end)]
  aligned, half_pixel, from_crop, inside = [], [], [], []
  for axis, (h, f, g) in enumerate(zip(low.shape[1:3], full, grid, strict=True)):
    aligned.append(_matrix(h, (f, True), (g, True)))
    half_pixel.append(_matrix(h, (f, False), (g, True)))
    start = boxes[:, axis, 0] * f // image[axis]
    from_crop.append(_columns(_matrix(f, (g, True)), start, high.shape[1 + axis]))
    inside.append(_inside(boxes[:, axis] * h // image[axis], h, g))
  attention = jax.nn.sigmoid(attention_logits.astype(jnp.float32))
  if weights is not None:
    weights = jax.lax.stop_gradient(weights.astype(jnp.float32))
    weights = resize.bilinear(weights[..., None], grid, align_corners=True)[..., 0]
  return FusedGrid(
    _sample("ip,bpqc,jq->bijc", low, aligned),
    _sample("bip,bpqc,bjq->bijc", high, from_crop),
    _sample("ip,bpqc,jq->bijc", attention, half_pixel)[..., 0],
    resize.nearest(labels[..., None], grid)[..., 0],
    inside[0][:, :, None] & inside[1][:, None],
    weights,
  )


def _matrix(length: int, *steps: tuple[int, bool]) -> jax.Array:
  """The matrix [last target, length] of resizings of an axis to each (target, align_corners)."""
  x = jnp.eye(length)[..., None]  # resizing the identity gives the matrix
  for target, align_corners in steps:
    x = resize.bilinear(x, (target, length), align_corners)
  return x[..., 0]


def _columns(matrix: jax.Array, start: jax.Array, count: int) -> jax.Array:
  """Columns start[b] .. start[b] + count - 1 of the matrix, [B, rows, count]; start may be traced."""
  return jax.vmap(lambda s: jax.lax.dynamic_slice_in_dim(matrix, s, count, axis=1))(start)


def _inside(interval: jax.Array, length: int, target: int) -> jax.Array:
  """Whether the nearest of `length` pixels lies in the interval [B, (start, end)]: bool [B, target]."""
  nearest = jnp.arange(target) * length // target
  return (nearest >= interval[:, :1]) & (nearest < interval[:, 1:])


def _sample(equation: str, x: jax.Array, matrices: list[jax.Array]) -> jax.Array:
  rows, columns = matrices
  return jnp.einsum(equation, rows, x.astype(jnp.float32), columns, precision="highest")


def _full_size(low: jax.Array, lr_scale: float) -> resize.Size:
  """(height, width) of the full map."""
  arrays.check_float("low", low, min_ndim=4)
  arrays.check_positive("lr_scale", lr_scale)
  return round(low.shape[1] / lr_scale), round(low.shape[2] / lr_scale)


def _check(
  low: jax.Array,
  high: jax.Array,
  attention_logits: jax.Array,
  labels: jax.Array,
  boxes: jax.Array,
  weights: jax.Array | None,
  full: resize.Size,
) -> None:
  """Checks everything against the low-resolution map, and `high` against the size of the full map."""
  batch, height, width, channels = low.shape
  arrays.check_float("high", high, min_ndim=4)
  if high.shape[::3] != (batch, channels) or high.shape[1] > full[0] or high.shape[2] > full[1]:
    raise ValueError(
      f"high has shape {high.shape}; expected [{batch}, ch, cw, {channels}] within {full}"
    )
  arrays.check_float("attention_logits", attention_logits)
  arrays.check_shape("attention_logits", attention_logits, (batch, height, width, 1), of="low maps")
  arrays.check_shape("boxes", boxes, (batch, 4), of="low maps")
  arrays.check_integer("boxes", boxes, "pixels")
  arrays.check_integer("labels", labels)
  if (
    labels.ndim != 3 or len(labels) != batch or labels.shape[1] % height or labels.shape[2] % width
  ):
    raise ValueError(
      f"labels has shape {labels.shape}; expected [{batch}, H, W], multiples of {height} x {width}"
    )
  if weights is not None:
    arrays.check_float("weights", weights)
    arrays.check_shape("weights", weights, labels.shape, of="labels")
