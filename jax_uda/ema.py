"""The teacher as an exponential moving average of the student."""

from typing import Any

import jax
import jax.numpy as jnp
import optax


def update_rate(step: jax.Array, max_decay: float) -> jax.Array:
  """1 - a_t with a_t = min(1 - 1/(t+1), max_decay): how much of the student enters at step t.

  The ramp makes step 0 a copy of the student and step 1 the mean of both; with a `max_decay` of
  0.999 the cap is reached at step 999. (DAFormer's code; the paper keeps the decay constant.)
  """
  return jnp.maximum(1.0 / (step + 1.0), 1.0 - max_decay).astype(jnp.float32)


def update(teacher: Any, student: Any, step: jax.Array, max_decay: float) -> Any:
  """The next teacher parameters `a_t * teacher + (1 - a_t) * student`."""
  return optax.incremental_update(student, teacher, update_rate(step, max_decay))
