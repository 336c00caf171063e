"""Pseudo-labels of the teacher and their confidence weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import resize


class PseudoLabel(NamedTuple):
  """The teacher's labels of a batch and their weights.

  Attributes:
    label: [B,H,W] int32, the most probable class; the lowest index on ties.
    weight: [B,H,W] float32, `confident_fraction` everywhere (or 0 and 1, see `per_pixel`) but at
      margins and invalid pixels, where it is 0.
    confident_fraction: Scalar in [0, 1], share of the *batch's* pixels whose largest probability
      reaches the threshold.
    confidence: [B,H,W] float32, the probability of the label.
  """

  label: jax.Array
  weight: jax.Array
  confident_fraction: jax.Array
  confidence: jax.Array


def pseudo_label(
  logits: jax.Array,
  size: tuple[int, int],
  *,
  threshold: float,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  valid: jax.Array | None = None,
  per_pixel: bool = False,
  align_corners: bool = False,
) -> PseudoLabel:
  """Labels and weights from the teacher's logits (DAFormer's code; its paper counts per image).

  Args:
    logits: [B,h,w,C], resized bilinearly to `size`.
    size: (height, width) of the image.
    threshold: A pixel is confident if its largest probability is at least this.
    ignore_top: Number of rows at the top whose weight is 0; they count in `confident_fraction`.
    ignore_bottom: Number of rows at the bottom whose weight is 0; they count, too.
    valid: [B,H,W], nonzero = use the pixel; or None.
    per_pixel: Whether confident pixels weigh 1 and the others 0, instead of all the batch's fraction.
    align_corners: Corner alignment when the logits are resized.

  Raises:
    ValueError: `valid` is not of the labels' shape.
  """
  logits = resize.bilinear(logits.astype(jnp.float32), size, align_corners)
  label = jnp.argmax(logits, -1)
  confidence = 1 / jnp.sum(jnp.exp(logits - jnp.max(logits, -1, keepdims=True)), -1)
  return weigh(
    label,
    confidence,
    threshold=threshold,
    ignore_top=ignore_top,
    ignore_bottom=ignore_bottom,
    valid=valid,
    per_pixel=per_pixel,
  )


def weigh(
  label: jax.Array,
  confidence: jax.Array,
  *,
  threshold: float,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  valid: jax.Array | None = None,
  per_pixel: bool = False,
) -> PseudoLabel:
  """Pseudo-labels from labels [B,H,W] and their confidence [B,H,W]; arguments as in `pseudo_label`."""
  if valid is not None and valid.shape != label.shape:
    raise ValueError(f"valid has shape {valid.shape}, the labels have {label.shape}")
  is_confident = confidence >= threshold
  fraction = jnp.mean(is_confident, dtype=jnp.float32)
  height = label.shape[1]
  row = jnp.arange(height)[:, None]
  used = (row >= ignore_top) & (row < height - ignore_bottom)
  weight = is_confident.astype(jnp.float32) if per_pixel else jnp.full(used.shape, fraction)
  weight = jnp.where(used, weight, 0.0) * jnp.ones(label.shape, jnp.float32)
  if valid is not None:
    weight = jnp.where(valid != 0, weight, 0.0)
  return PseudoLabel(label.astype(jnp.int32), weight, fraction, confidence)
