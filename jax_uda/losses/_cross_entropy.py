"""Cross-entropy of pixels with ignored labels and weights, and of the classes that an image holds."""

from typing import Literal

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays
from jax_uda.ops.arrays import Reduction
from jax_uda.ops.labels import image_classes


def weighted_cross_entropy(
  logits: jax.Array,
  labels: jax.Array,
  weights: jax.Array | None = None,
  *,
  class_weights: jax.Array | None = None,
  denominator: Literal["all", "valid"] = "all",
  reduction: Reduction = "mean",
) -> jax.Array:
  """Sum of `weight * -log softmax(logits)[label]` over valid pixels, divided as `denominator` says.

  Args:
    logits: [..., C] at the labels' resolution, any float dtype; divide them by a temperature first
      if there is one.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) contributes 0.
    weights: [...] float32 or None (all 1); constant.
    class_weights: [C] float32 or None (all 1): a further weight of each pixel by its label; constant.
    denominator: `all`, the number of all pixels: ignored and zero-weight ones count (the DACS
      family). `valid`, the sum of the valid pixels' weights, hence their number if there are no
      weights: the mean over valid pixels (SPCL, the source loss of RCCR; PyTorch's own).
    reduction: "mean", or "none" for `-log softmax(logits)[label]` of the single pixels.

  Returns:
    float32, a scalar or [...]. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: The shapes do not fit, or an option is unknown.

  Source: golden `base/weighted_ce` (all), `spcl/seg_loss` (valid).

  >>> import jax.numpy as jnp
  >>> logits, labels = jnp.zeros((4, 3)), jnp.array([0, 2, 255, 255])
  >>> f"{weighted_cross_entropy(logits, labels):.4f}"  # ln 3 / 2
  '0.5493'
  >>> f"{weighted_cross_entropy(logits, labels, denominator='valid'):.4f}"
  '1.0986'
  """
  arrays.check_option("denominator", denominator, ("all", "valid"))
  arrays.check_reduction(reduction)
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
  weight = jax.lax.stop_gradient(weight)
  nll = jax.nn.logsumexp(logits, -1) - arrays.pick(logits, safe)
  if reduction == "mean" and denominator == "all":
    return jnp.sum(weight * nll) / nll.size
  return arrays.reduce(nll, weight, reduction)


def image_class_cross_entropy(
  maps: jax.Array, labels: jax.Array, *, reduction: Reduction = "mean"
) -> jax.Array:
  """Mean over images and classes of the sigmoid cross-entropy between mean map and `image_classes`.

  Args:
    maps: [..., h, w, C], any float dtype: class activations before ReLU.
    labels: [..., H, W] integers at any resolution; a pixel outside 0..C-1 (255 = ignore) is left
      out.
    reduction: "mean", or "none" for the terms of the single images and classes.

  Returns:
    float32, a scalar or [..., C]. An image without valid pixels counts as one that holds no class,
    as in the reference.

  Raises:
    ValueError: A shape or dtype does not fit, or the reduction is unknown.

  Source: CONFETI; golden `confeti/cam_head`.

  >>> import jax.numpy as jnp
  >>> maps, labels = jnp.zeros((1, 2, 2, 3)), jnp.array([[[0, 2]]])
  >>> print(f"{image_class_cross_entropy(maps, labels):.4f}")
  0.6931
  """
  arrays.check_reduction(reduction)
  arrays.check_float("maps", maps, min_ndim=3)
  classes = image_classes(labels, maps.shape[-1])
  arrays.check_shape("labels", labels, (*maps.shape[:-3], *labels.shape[-2:]), of="maps")
  scores = jnp.mean(maps.astype(jnp.float32), axis=(-3, -2))
  values = optax.sigmoid_binary_cross_entropy(scores, classes)
  return values if reduction == "none" else jnp.mean(values)
