"""Steps that are as if they had not been, because a loss or a gradient is not finite."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jax_uda.step.state import TrainState
from jax_uda.step.train_step import Metrics

SKIPPED = "skipped"  # the metric that is 1 for such a step, else 0

Step = Callable[[TrainState, Any], tuple[TrainState, Metrics]]


def skipping(step: Step) -> Step:
  """A step that leaves the state as it is, but for its number, if a metric of it is not finite.

  Args:
    step: A pure training step; the norm of its gradient is among its metrics.
  """

  def skipping_step(state: TrainState, batch: Any) -> tuple[TrainState, Metrics]:
    moved, metrics = step(state, batch)
    is_finite = jnp.all(jnp.isfinite(jnp.stack(list(metrics.values()))))
    kept = jax.tree.map(lambda new, old: jnp.where(is_finite, new, old), moved, state)
    metrics = metrics | {SKIPPED: 1.0 - is_finite.astype(jnp.float32)}
    return kept.replace(step=moved.step), metrics

  return skipping_step
