"""Pixel-wise cross-entropy with ignored pixels and weights."""

import jax
import jax.numpy as jnp


def weighted_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array | None = None,
  *,
  class_weights: jax.Array | None = None,
) -> jax.Array:
  """Sum of `weight * -log softmax(logits)[label]` over valid pixels, divided by *all* pixels.

  Ignored and zero-weight pixels count in the denominator (the DACS family's convention).

  Args:
    logits: [..., C] at the labels' resolution, any float dtype.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) contributes 0.
    weights: [...] float32 or None; constant.
    class_weights: [C] float32 or None: a further weight by the pixel's label; constant.

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: The shapes do not fit.
  """
  num_classes = logits.shape[-1]
  for name, array, expected in (
    ("labels", labels, logits.shape[:-1]),
    ("weights", weights, logits.shape[:-1]),
    ("class_weights", class_weights, (num_classes,)),
  ):
    if array is not None and array.shape != expected:
      raise ValueError(
        f"{name} has shape {array.shape}, but logits {logits.shape} ask for {expected}"
      )
  logits = logits.astype(jnp.float32)
  valid = (labels >= 0) & (labels < num_classes)
  safe = jnp.where(valid, labels, 0).astype(jnp.int32)
  weight = valid.astype(jnp.float32)
  if weights is not None:
    weight = weight * weights
  if class_weights is not None:
    weight = weight * jnp.asarray(class_weights)[safe]
  picked = jnp.take_along_axis(logits, safe[..., None], -1)[..., 0]
  nll = jax.nn.logsumexp(logits, -1) - picked
  return jnp.sum(jax.lax.stop_gradient(weight) * nll) / nll.size
