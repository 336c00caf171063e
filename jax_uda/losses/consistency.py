"""Losses on predictions without labels: entropy, and agreement with a teacher."""

import math

import jax
import jax.numpy as jnp
import optax

from jax_uda.ops import arrays


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
