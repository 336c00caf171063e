"""Pseudo-labels of the teacher and their confidence weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda import resize


class PseudoLabel(NamedTuple):
  """What the teacher says of a batch.

  Attributes:
    label: [B,H,W] int32, the most probable class; the lowest index on ties.
    weight: [B,H,W] float32, `confident_fraction` everywhere (or 0 and 1, see `per_pixel`) but at
      margins and invalid pixels, where it is 0.
    confident_fraction: Scalar in [0, 1], share of the *batch's* pixels whose largest probability
      reaches the threshold.
  """

  label: jax.Array
  weight: jax.Array
  confident_fraction: jax.Array


def pseudo_label(
  logits: jax.Array,
  size: tuple[int, int],
  *,
  threshold: float,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  valid: jax.Array | None = None,
  per_pixel: bool = False,
) -> PseudoLabel:
  """Labels and weights from the teacher's logits (DAFormer's code; its paper counts per image).

  Args:
    logits: [B,h,w,C], resized bilinearly to `size`.
    size: (height, width) of the image.
    threshold: A pixel is confident if its largest probability is at least this.
    ignore_top: Rows at the top whose weight is 0; they count in `confident_fraction` all the same.
    ignore_bottom: Rows at the bottom, likewise.
    valid: [B,H,W], nonzero = use the pixel; or None.
    per_pixel: Weigh confident pixels 1 and the others 0, instead of all by the batch's fraction.

  Raises:
    ValueError: `valid` is not of the labels' shape.
  """
  logits = resize.bilinear(logits.astype(jnp.float32), size)
  if valid is not None and valid.shape != logits.shape[:-1]:
    raise ValueError(f"valid has shape {valid.shape}, the labels have {logits.shape[:-1]}")
  probability = 1 / jnp.sum(jnp.exp(logits - jnp.max(logits, -1, keepdims=True)), -1)  # of argmax
  is_confident = probability >= threshold
  confident = jnp.mean(is_confident, dtype=jnp.float32)
  row = jnp.arange(size[0])[:, None]
  used = (row >= ignore_top) & (row < size[0] - ignore_bottom)
  weight = is_confident.astype(jnp.float32) if per_pixel else jnp.full(used.shape, confident)
  weight = jnp.where(used, weight, 0.0) * jnp.ones(logits.shape[:-1], jnp.float32)
  if valid is not None:
    weight = jnp.where(valid != 0, weight, 0.0)
  return PseudoLabel(jnp.argmax(logits, -1).astype(jnp.int32), weight, confident)
