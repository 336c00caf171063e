"""Pseudo-labels of the teacher and their confidence weight."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import resize
from jax_uda.step.objective import split_groups


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


def of_mirrored_pair(
  logits: jax.Array,
  mirrored_logits: jax.Array,
  size: tuple[int, int],
  *,
  threshold: float,
  valid: jax.Array | None = None,
  groups: int = 1,
) -> PseudoLabel:
  """Labels and weights from the mean probability of an image and its mirror image (VFM-UDA).

  Args:
    logits: [B,h,w,C] of the image, resized bilinearly to `size`.
    mirrored_logits: [B,h,w,C] of the mirror image, as the network returns them.
    size: (height, width) of the image.
    threshold: A pixel is confident if its largest probability is at least this.
    valid: [B,H,W], nonzero = use the pixel; or None.
    groups: As in `weigh`.
  """
  softmax = lambda x: jax.nn.softmax(resize.bilinear(x.astype(jnp.float32), size))
  probability = (softmax(logits) + softmax(mirrored_logits)[:, :, ::-1]) / 2
  return weigh(
    jnp.argmax(probability, -1),
    jnp.max(probability, -1),
    threshold=threshold,
    valid=valid,
    groups=groups,
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
  groups: int = 1,
) -> PseudoLabel:
  """Pseudo-labels from labels [B,H,W] and their confidence [B,H,W]; arguments as in `pseudo_label`.

  With `groups` above 1 the share of confident pixels is taken in each of so many parts of the batch, as
  on the reference's devices; `confident_fraction` is their mean.
  """
  if valid is not None and valid.shape != label.shape:
    raise ValueError(f"valid has shape {valid.shape}, the labels have {label.shape}")
  is_confident = confidence >= threshold
  fractions = jnp.mean(split_groups(is_confident, groups), (1, 2, 3), dtype=jnp.float32)  # [G]
  fraction = jnp.mean(fractions)
  of_image = jnp.repeat(fractions, len(label) // groups)[:, None, None]
  height = label.shape[1]
  row = jnp.arange(height)[:, None]
  used = (row >= ignore_top) & (row < height - ignore_bottom)
  weight = is_confident.astype(jnp.float32) if per_pixel else of_image
  weight = jnp.where(used, weight, 0.0) * jnp.ones(label.shape, jnp.float32)
  if valid is not None:
    weight = jnp.where(valid != 0, weight, 0.0)
  return PseudoLabel(label.astype(jnp.int32), weight, fraction, confidence)
