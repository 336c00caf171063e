"""Between the range of a segmentation network, (rgb - mean) / std, and that of a generator, [-1, 1].

Golden: `confeti/style_range`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def to_gan(image: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
  """`2 (x std + mean) / 255 - 1`, not clipped.

  Args:
    image: [..., 3], normalised, any float dtype.
    mean: [3], of RGB in 0..255.
    std: [3], likewise.

  Returns:
    [..., 3] float32.

  Raises:
    ValueError: The image does not hold floats, or its channels are not those of mean and std.
  """
  mean, std = _constants(image, mean, std)
  return 2 * (image.astype(jnp.float32) * std + mean) / 255 - 1


def from_gan(image: jax.Array, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
  """`(127.5 (y + 1) - mean) / std`, the inverse of `to_gan`, with the same arguments and errors."""
  mean, std = _constants(image, mean, std)
  return (127.5 * (image.astype(jnp.float32) + 1) - mean) / std


def _constants(image, mean, std) -> tuple[jax.Array, jax.Array]:
  """Mean and std as float32 arrays [3], checked."""
  mean, std = jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32)
  if not jnp.issubdtype(image.dtype, jnp.floating):
    raise ValueError(f"image has dtype {image.dtype}; expected floats, not pixel values")
  for name, value in (("mean", mean), ("std", std)):
    if value.shape != image.shape[-1:]:
      raise ValueError(f"{name} has shape {value.shape}, but image has shape {image.shape}")
  return mean, std
