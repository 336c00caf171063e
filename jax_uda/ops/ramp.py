"""The weight of a loss that grows during training."""

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


def exponential_ramp(
  step: jax.Array, num_steps: int, *, weight: float = 0.01, rate: float = 5.0
) -> jax.Array:
  """The weight `weight * exp(-rate (1 - sqrt(step / num_steps)))`: nearly 0 at first.

  Args:
    step: An integer scalar or array, 0-based; constant.
    num_steps: The step at which `weight` is reached; it stays there.
    weight: The final weight.
    rate: The steepness: the ramp starts at `weight * exp(-rate)`.

  Returns:
    float32 of the step's shape.

  Raises:
    ValueError: `num_steps` is not above 0.

  Source: RCCR (Zhou et al., ICME 2022), reference code; golden `rccr/schedules`.

  >>> print(f"{exponential_ramp(0, 100):.6f} {exponential_ramp(100, 100):.2f}")
  0.000067 0.01
  """
  arrays.check_positive("num_steps", num_steps)
  progress = jnp.clip(jnp.asarray(step, jnp.float32) / num_steps, 0, 1)
  return weight * jnp.exp(-rate * (1 - jnp.sqrt(progress)))
