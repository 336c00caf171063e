"""The units of an image: bytes in files, RGB in [0, 1] in the library, standardised in a network."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def to_unit(image: jax.Array) -> jax.Array:
  """Pixel values in 0..255, any dtype and shape, as float32 in [0, 1].

  Every image passes through here once, where it enters JAX code.

  >>> import numpy as np
  >>> to_unit(np.array([0, 51, 255], np.uint8)).round(6)
  Array([0. , 0.2, 1. ], dtype=float32)
  """
  return jnp.asarray(image, jnp.float32) / 255


def standardise(image: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
  """The image that a network's weights expect: `(image - mean) / std`, float32.

  Args:
    image: [..., D] floats, RGB in [0, 1].
    mean: [D], in the units of the image.
    std: [D], in the units of the image.

  Raises:
    ValueError: The image holds integers, or has another number of channels than mean and std.
  """
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(f"image has dtype {image.dtype}; expected floats in [0, 1], see `to_unit`")
  center, scale = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
  for name, value in (("mean", center), ("std", scale)):
    if value.shape != image.shape[-1:]:
      raise ValueError(f"{name} has shape {value.shape}, but image has shape {image.shape}")
  return (image.astype(jnp.float32) - center) / scale
