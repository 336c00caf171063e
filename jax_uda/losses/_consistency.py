"""Losses on predictions without labels: entropy, and agreement with a teacher."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays
from jax_uda.ops.labels import downscale_label


def entropy(logits: jax.Array, weights: jax.Array | None = None) -> jax.Array:
  """Weighted mean of each pixel's entropy `-sum_c p_c ln p_c / ln C`, in [0, 1].

  Args:
    logits: [..., C], any float dtype.
    weights: [...] float32 or None (all 1); constant.

  Returns:
    float32 scalar. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: ADVENT (Vu et al., CVPR 2019), eq. 2 and 3, without the adversary.

  >>> import jax.numpy as jnp
  >>> print(f"{entropy(jnp.zeros((3, 4))):.6f}")
  1.000000
  """
  log_p, w = _log_prob("logits", logits, weights)
  if logits.shape[-1] < 2:
    raise ValueError(f"logits has shape {logits.shape}; expected at least 2 classes")
  values = -jnp.sum(jnp.exp(log_p) * log_p, -1) / math.log(logits.shape[-1])
  return arrays.weighted_mean(values, w)


def kl_consistency(
  logits: jax.Array,
  teacher_logits: jax.Array,
  weights: jax.Array | None = None,
  *,
  temperature: float = 1.0,
) -> jax.Array:
  """Weighted mean of `t^2 KL(softmax(teacher / t) || softmax(student / t))`.

  The factor t^2 keeps the gradient's size when the temperature changes (Hinton et al., 2015).

  Args:
    logits: [..., C], any float dtype: the student's.
    teacher_logits: [..., C], constant.
    weights: [...] float32 or None (all 1); constant.
    temperature: t.

  Returns:
    float32 scalar. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or the temperature is not above 0.

  >>> import jax.numpy as jnp
  >>> x = jnp.array([[1.0, 2.0]])
  >>> float(kl_consistency(x, x))
  0.0
  """
  arrays.check_positive("temperature", temperature)
  arrays.check_float("teacher_logits", teacher_logits)
  arrays.check_shape("teacher_logits", teacher_logits, logits.shape, of="logits")
  log_p, w = _log_prob("logits", logits, weights, temperature)
  log_q, _ = _log_prob("teacher_logits", jax.lax.stop_gradient(teacher_logits), None, temperature)
  divergence = optax.losses.kl_divergence_with_log_targets(log_p, log_q)
  return temperature**2 * arrays.weighted_mean(divergence, w)


def _log_prob(name, logits, weights, temperature=1.0) -> tuple[jax.Array, jax.Array]:
  """Log-probabilities [..., C] and constant weights [...], both float32."""
  arrays.check_float(name, logits)
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32) / temperature)
  if weights is None:
    return log_p, jnp.ones(logits.shape[:-1], jnp.float32)
  arrays.check_shape("weights", weights, logits.shape[:-1], of=name)
  return log_p, jax.lax.stop_gradient(weights.astype(jnp.float32))


def feature_distance(
  features: jax.Array,
  reference: jax.Array,
  labels: jax.Array,
  *,
  thing_classes: Sequence[int],
  num_classes: int,
  min_ratio: float = 0.75,
) -> jax.Array:
  """Mean Euclidean distance of features from reference features over cells of thing classes.

  Args:
    features: [B,h,w,D].
    reference: [B,h,w,D], constant.
    labels: [B,H,W] at image resolution; cells are H // h pixels.
    thing_classes: Classes whose cells count.
    num_classes: C.
    min_ratio: See `downscale_label`.

  Returns:
    float32 scalar. No such cell: value and gradient are exactly 0 (the reference code has NaN).

  Raises:
    ValueError: The shapes do not fit.

  >>> import jax.numpy as jnp
  >>> features, labels = jnp.ones((1, 2, 2, 4)), jnp.zeros((1, 4, 4), int)
  >>> float(feature_distance(features, features - 1, labels, thing_classes=(0,), num_classes=2))
  2.0
  """
  if features.shape != reference.shape:
    raise ValueError(f"reference has shape {reference.shape}, features has {features.shape}")
  batch, height, width, _ = features.shape
  factor = labels.shape[1] // height
  if labels.shape != (batch, factor * height, factor * width):
    raise ValueError(
      f"labels have shape {labels.shape}, not a whole multiple of features {features.shape}"
    )
  cells = downscale_label(labels, factor, num_classes, min_ratio)
  mask = jnp.isin(cells, jnp.array(tuple(thing_classes)))
  difference = features.astype(jnp.float32) - jax.lax.stop_gradient(reference.astype(jnp.float32))
  squared = jnp.sum(difference**2, -1)
  positive = squared > 0  # the root has no gradient at 0: keep it away from the root altogether
  distance = jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)
  return jnp.sum(jnp.where(mask, distance, 0.0)) / jnp.maximum(jnp.sum(mask), 1)


def semantic_consistency(
  embeddings: jax.Array,
  reference: jax.Array,
  prototypes: jax.Array,
  weights: jax.Array | None = None,
) -> jax.Array:
  """Weighted mean over pixels, and mean over classes, of `(f . mu_c - f_ref . mu_c)^2`.

  Prototypes of classes never seen are 0 and count in the mean over classes.

  Args:
    embeddings: [..., A] of the stylised image, any float dtype; used as given, not normalised.
    reference: [..., A] of the original image; constant.
    prototypes: [C, A], constant.
    weights: [...] float32 or None (all 1); constant.

  Returns:
    float32 scalar. No pixel of positive weight: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: CONFETI; golden `confeti/semantic_consistency`.

  >>> import jax.numpy as jnp
  >>> x, prototypes = jnp.array([[3.0, 1.0]]), jnp.eye(2)
  >>> float(semantic_consistency(x, jnp.array([[1.0, 1.0]]), prototypes))
  2.0
  """
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_float("reference", reference)
  arrays.check_shape("reference", reference, embeddings.shape, of="embeddings")
  arrays.check_rows("prototypes", prototypes, embeddings.shape[-1])
  if weights is None:
    weights = jnp.ones(embeddings.shape[:-1], jnp.float32)
  arrays.check_shape("weights", weights, embeddings.shape[:-1], of="embeddings")
  weights = jax.lax.stop_gradient(weights.astype(jnp.float32))
  reference = jax.lax.stop_gradient(reference.astype(jnp.float32))
  # Similarities are linear: one product with the difference instead of two.
  shift = arrays.matmul(embeddings - reference, jax.lax.stop_gradient(prototypes).T)  # [..., C]
  return arrays.weighted_mean(jnp.mean(shift * shift, -1), weights)
