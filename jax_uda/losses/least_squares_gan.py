"""Least-squares adversaries: a discriminator D gives 1 for a real image and 0 for a generated one.

Who is constant is up to the caller: the generator's loss wants D's weights constant, the
discriminator's the generated image. (LSGAN, Mao et al., ICCV 2017; the half is CUT's.)
"""

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


def least_squares_generator_loss(fake_map: jax.Array) -> jax.Array:
  """Mean of `(D(fake) - 1)^2`.

  Args:
    fake_map: D's output for generated images, of any shape and float dtype.

  Returns:
    float32 scalar.

  Raises:
    ValueError: The map does not hold floats.

  Source: golden `confeti/lsgan`.

  >>> import jax.numpy as jnp
  >>> float(least_squares_generator_loss(jnp.array([[3.0, 1.0]])))
  2.0
  """
  return _mean_square("fake_map", fake_map, 1.0)


def least_squares_discriminator_loss(fake_map: jax.Array, real_map: jax.Array) -> jax.Array:
  """`1/2 (mean D(fake)^2 + mean (D(real) - 1)^2)`; each half counts alike, whatever the sizes.

  Args:
    fake_map: D's output for generated images, of any shape and float dtype.
    real_map: The same for real images; its shape may differ.

  Returns:
    float32 scalar.

  Raises:
    ValueError: A map does not hold floats.

  Source: golden `confeti/lsgan`.

  >>> import jax.numpy as jnp
  >>> float(least_squares_discriminator_loss(jnp.array([2.0]), jnp.array([1.0, 3.0])))
  3.0
  """
  return (_mean_square("fake_map", fake_map, 0.0) + _mean_square("real_map", real_map, 1.0)) / 2


def _mean_square(name: str, values: jax.Array, target: float) -> jax.Array:
  arrays.check_float(name, values)
  return jnp.mean((values.astype(jnp.float32) - target) ** 2)
