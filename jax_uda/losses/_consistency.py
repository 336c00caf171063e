"""Losses on predictions and features without labels: entropy, and agreement with a reference."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays
from jax_uda.ops.arrays import Reduction
from jax_uda.ops.labels import downscale_label


def entropy(
  logits: jax.Array, weights: jax.Array | None = None, *, reduction: Reduction = "mean"
) -> jax.Array:
  """Weighted mean over pixels of the entropy `-sum_c p_c ln p_c / ln C`, in [0, 1].

  Args:
    logits: [..., C], any float dtype; p is their softmax.
    weights: [...] float32 or None (all 1); constant.
    reduction: "mean", or "none" for the entropies of the single pixels.

  Returns:
    float32, a scalar or [...]. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the reduction is unknown.

  Source: ADVENT (Vu et al., CVPR 2019), eq. 2 and 3, without the adversary.

  >>> import jax.numpy as jnp
  >>> print(f"{entropy(jnp.zeros((3, 4))):.6f}")
  1.000000
  """
  arrays.check_reduction(reduction)
  log_p, w = _log_prob("logits", logits, weights)
  if logits.shape[-1] < 2:
    raise ValueError(f"logits has shape {logits.shape}; expected at least 2 classes")
  values = -jnp.sum(jnp.exp(log_p) * log_p, -1) / math.log(logits.shape[-1])
  return arrays.reduce(values, w, reduction)


def kl_consistency(
  logits: jax.Array,
  teacher_logits: jax.Array,
  weights: jax.Array | None = None,
  *,
  temperature: float = 1.0,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over pixels of `t^2 KL(softmax(teacher / t) || softmax(student / t))`.

  The factor t^2 keeps the gradient's size when the temperature changes (Hinton et al., 2015).

  Args:
    logits: [..., C], any float dtype: the student's.
    teacher_logits: [..., C], constant.
    weights: [...] float32 or None (all 1); constant.
    temperature: t.
    reduction: "mean", or "none" for the divergences of the single pixels.

  Returns:
    float32, a scalar or [...]. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, the temperature is not above 0, or the reduction is
      unknown.

  >>> import jax.numpy as jnp
  >>> x = jnp.array([[1.0, 2.0]])
  >>> float(kl_consistency(x, x))
  0.0
  """
  arrays.check_reduction(reduction)
  arrays.check_positive("temperature", temperature)
  arrays.check_float("teacher_logits", teacher_logits)
  arrays.check_shape("teacher_logits", teacher_logits, logits.shape, of="logits")
  log_p, w = _log_prob("logits", logits, weights, temperature)
  log_q, _ = _log_prob("teacher_logits", jax.lax.stop_gradient(teacher_logits), None, temperature)
  divergence = optax.losses.kl_divergence_with_log_targets(log_p, log_q)
  return temperature**2 * arrays.reduce(divergence, w, reduction)


def _log_prob(
  name: str, logits: jax.Array, weights: jax.Array | None, temperature: float = 1.0
) -> tuple[jax.Array, jax.Array]:
  """Log-probabilities [..., C] and constant weights [...], both float32."""
  arrays.check_float(name, logits)
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
  return log_p, arrays.constant_weights(weights, logits.shape[:-1], of=name)


def feature_distance(
  features: jax.Array,
  reference: jax.Array,
  labels: jax.Array,
  *,
  thing_classes: Sequence[int],
  num_classes: int,
  min_ratio: float = 0.75,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Mean over cells of thing classes of the Euclidean distance between features and reference.

  A distance within rounding of the features' size is 0 and has gradient 0 (`arrays.rounding`). At
  the start of training both maps come from the same weights, and the gradient of what remains of
  their distance would be a unit vector of noise.

  Args:
    features: [B,h,w,D], any float dtype.
    reference: [B,h,w,D], constant.
    labels: [B,H,W] integers at image resolution; cells are H // h pixels.
    thing_classes: The classes whose cells count.
    num_classes: C.
    min_ratio: The smallest share of a cell's pixels that its majority class must hold.
    reduction: "mean", or "none" for the distances of the single cells.

  Returns:
    float32, a scalar or [B,h,w]. No such cell: value and gradient are exactly 0 (the reference code
    has NaN).

  Raises:
    ValueError: The shapes or dtypes do not fit, or the reduction is unknown.

  Source: DAFormer (Hoyer et al., CVPR 2022), eq. 7; golden `base/feature_distance`.

  >>> import jax.numpy as jnp
  >>> features, labels = jnp.ones((1, 2, 2, 4)), jnp.zeros((1, 4, 4), int)
  >>> float(feature_distance(features, features - 1, labels, thing_classes=(0,), num_classes=2))
  2.0
  """
  arrays.check_reduction(reduction)
  arrays.check_float("features", features, min_ndim=4)
  arrays.check_float("reference", reference)
  if features.shape != reference.shape:
    raise ValueError(f"reference has shape {reference.shape}, features has {features.shape}")
  batch, height, width, _ = features.shape
  factor = labels.shape[1] // height
  if labels.shape != (batch, factor * height, factor * width):
    raise ValueError(
      f"labels have shape {labels.shape}, not a whole multiple of features {features.shape}"
    )
  cells = downscale_label(labels, factor, num_classes, min_ratio)
  is_thing = jnp.isin(cells, jnp.array(tuple(thing_classes)))
  coarsest = max(features.dtype, reference.dtype, key=lambda dtype: jnp.finfo(dtype).eps)
  floor = arrays.rounding(arrays.typical_length(reference), coarsest)
  difference = features.astype(jnp.float32) - jax.lax.stop_gradient(reference.astype(jnp.float32))
  distance = arrays.safe_norm(difference, floor)
  return arrays.reduce(distance, is_thing.astype(jnp.float32), reduction)


def semantic_consistency(
  embeddings: jax.Array,
  reference: jax.Array,
  prototypes: jax.Array,
  weights: jax.Array | None = None,
  *,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over pixels, and mean over classes, of `(f . mu_c - f_ref . mu_c)^2`.

  Prototypes of classes never seen are 0, and count in the mean over classes.

  Args:
    embeddings: f, [..., A], of the stylised image, any float dtype; used as they are, not normalised.
    reference: f_ref, [..., A], of the original image; constant.
    prototypes: mu, [C, A], constant.
    weights: [...] float32 or None (all 1); constant.
    reduction: "mean", or "none" for the terms of the single pixels.

  Returns:
    float32, a scalar or [...]. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the reduction is unknown.

  Source: CONFETI (Li et al., CVPRW 2023); golden `confeti/semantic_consistency`.

  >>> import jax.numpy as jnp
  >>> x, prototypes = jnp.array([[3.0, 1.0]]), jnp.eye(2)
  >>> float(semantic_consistency(x, jnp.array([[1.0, 1.0]]), prototypes))
  2.0
  """
  arrays.check_reduction(reduction)
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_float("reference", reference)
  arrays.check_shape("reference", reference, embeddings.shape, of="embeddings")
  arrays.check_rows("prototypes", prototypes, embeddings.shape[-1])
  weights = arrays.constant_weights(weights, embeddings.shape[:-1], of="embeddings")
  reference = jax.lax.stop_gradient(reference.astype(jnp.float32))
  # Similarities are linear: one product with the difference instead of two.
  shift = arrays.matmul(embeddings - reference, jax.lax.stop_gradient(prototypes).T)  # [..., C]
  return arrays.reduce(jnp.mean(shift * shift, -1), weights, reduction)
