"""Rotary positions of DINOv3 (Siméoni et al., 2025): tokens are told apart by rotated queries and keys.

Nothing is learned and nothing is interpolated: any grid of tokens has its angles. Each axis spans [-1, 1]
by itself, so that a stretched image has the angles of the original one. Golden: `base/dino3_rope`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.models.protocols import Size

BASE = 100.0  # ratio of the longest period to the shortest, nearly


class Rotation(NamedTuple):
  """Sines and cosines of all patch tokens, row by row, each [h * w, d] float32."""

  sin: jax.Array | np.ndarray
  cos: jax.Array | np.ndarray


def angles(grid: Size, dim: int, rescale: jax.Array | float = 1.0) -> jax.Array | np.ndarray:
  """Returns the angles [h * w, dim / 2] of a grid of h x w tokens in radians, float32.

  The first half of an angle vector tells the row, the second half the column.

  Args:
    grid: Rows and columns of tokens.
    dim: Channels of an attention head, a multiple of 4.
    rescale: Factor of all coordinates; 1 in evaluation.

  Raises:
    ValueError: `dim` is no multiple of 4.
  """
  if dim % 4:
    raise ValueError(f"rotary positions need heads of a multiple of 4 channels, not {dim}")
  periods = BASE ** (np.arange(dim // 4) * 4 / dim)
  row, column = (2 * (np.arange(n) + 0.5) / n - 1 for n in grid)
  shape = (*grid, dim // 4)
  parts = [row[:, None, None] / periods, column[:, None] / periods]
  turns = np.concatenate([np.broadcast_to(part, shape) for part in parts], -1)
  return np.float32(2 * np.pi * turns).reshape(-1, dim // 2) * rescale


def rotation(grid: Size, dim: int, rescale: jax.Array | float = 1.0) -> Rotation:
  """Returns the rotation of a grid of tokens; the arguments are those of `angles`."""
  angle = angles(grid, dim, rescale)
  xp = np if isinstance(angle, np.ndarray) else jnp
  both = xp.concatenate([angle, angle], -1)
  return Rotation(xp.sin(both), xp.cos(both))


def draw_rescale(key: jax.Array, largest: float) -> jax.Array:
  """Draws the factor of all coordinates: log-uniform between 1 / `largest` and `largest`, scalar."""
  bound = np.log(largest)
  return jnp.exp(jax.random.uniform(key, (), minval=-bound, maxval=bound))


def rotate(x: jax.Array, by: Rotation) -> jax.Array:
  """Rotates queries or keys in float32.

  Args:
    x: [B, N, heads, d]; tokens before the last h * w (cls, registers) are not rotated.
    by: Sines and cosines of the h * w patch tokens.

  Returns:
    [B, N, heads, d] in the dtype of x.
  """
  prefix = x.shape[1] - len(by.sin)
  patches = x[:, prefix:].astype(jnp.float32)
  first, second = jnp.split(patches, 2, -1)
  turned = jnp.concatenate([-second, first], -1)
  patches = patches * by.cos[:, None] + turned * by.sin[:, None]
  return jnp.concatenate([x[:, :prefix], patches.astype(x.dtype)], 1)
