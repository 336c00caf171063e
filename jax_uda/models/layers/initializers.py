"""Initialisers that flax does not name."""

import flax.linen as nn
import jax

# PyTorch's default for the weights of a convolution or linear layer: U(-1, 1) / sqrt(fan_in).
TORCH_WEIGHTS = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_uniform(fan_in: int) -> nn.initializers.Initializer:
  """Returns the distribution of `TORCH_WEIGHTS` for biases, whose shape does not tell `fan_in`.

  Args:
    fan_in: Number of inputs of one output: input channels times the area of the kernel.
  """
  bound = fan_in**-0.5
  return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -bound, bound)
