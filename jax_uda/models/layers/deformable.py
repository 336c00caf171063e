"""Multi-scale deformable attention (Zhu et al., 2021): queries look at a few points of feature maps.

Each query has `points` sampling points per head and map, at learned offsets from its own place. A point's
value is interpolated between four neighbours, which are gathered, so that maps may have any size.
Golden: `vfm_plus/deform_attn`.
"""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jax_uda.models.protocols import Size


def deformable_attention(
  value: jax.Array, sizes: Sequence[Size], locations: jax.Array, weights: jax.Array
) -> jax.Array:
  """The weighted sum of interpolated values at the locations.

  A neighbour outside its map counts as 0. Locations and weights are taken in float32, as is the sum.

  Args:
    value: [B, N, H, d], the values of all maps, level by level, rows first; H heads.
    sizes: (height, width) of each of the L maps; their areas add up to N.
    locations: [B, Q, H, L, P, 2], P points per head and map, x before y, in [0, 1] of the map.
    weights: [B, Q, H, L, P].

  Returns:
    [B, Q, H * d] float32.

  Raises:
    ValueError: The areas of the maps do not add up to N.
  """
  batch, tokens, heads, dim = value.shape
  area = np.array([height * width for height, width in sizes])
  if area.sum() != tokens:
    raise ValueError(f"maps of {tuple(sizes)} do not have {tokens} tokens together")
  queries = locations.shape[1]
  start = (np.cumsum(area) - area)[:, None, None]  # by level, for all points and neighbours
  height, width = (np.array(sides)[:, None, None] for sides in zip(*sizes, strict=True))
  by_head = lambda x: jnp.moveaxis(x, 2, 1)  # [B, H, …]
  place = by_head(locations).astype(jnp.float32)[..., None, :]  # [B, H, Q, L, P, 1, 2]
  x, y = place[..., 0] * width - 0.5, place[..., 1] * height - 0.5
  right, down = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
  column, row = jnp.floor(x) + right, jnp.floor(y) + down  # the four neighbours
  share = (1 - jnp.abs(x - column)) * (1 - jnp.abs(y - row))
  share *= by_head(weights).astype(jnp.float32)[..., None]
  inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
  index = start + jnp.clip(row, 0, height - 1) * width + jnp.clip(column, 0, width - 1)
  index = index.astype(jnp.int32).reshape(batch, heads, -1, 1)
  gathered = jnp.take_along_axis(by_head(value), index, axis=2, mode="promise_in_bounds")
  gathered = gathered.reshape(batch, heads, queries, -1, dim).astype(jnp.float32)
  share = jnp.where(inside, share, 0.0).reshape(batch, heads, queries, -1, 1)
  return by_head(jnp.sum(gathered * share, 3)).reshape(batch, queries, heads * dim)


def grid_references(size: Size) -> np.ndarray:
  """The centres [h w, 2] of the cells of a grid, x before y, in [0, 1]."""
  height, width = size
  y, x = np.meshgrid(
    (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij"
  )
  return np.stack([x, y], -1).reshape(-1, 2).astype(np.float32)


def initial_offsets(heads: int, levels: int, points: int) -> np.ndarray:
  """Offsets [H, L, P, 2] in cells with which training starts: each head looks in a direction of its own.

  Point p lies p + 1 cells away, measured along the longer axis.
  """
  angle = 2 * math.pi * np.arange(heads) / heads
  direction = np.stack([np.cos(angle), np.sin(angle)], -1)
  direction /= np.abs(direction).max(-1, keepdims=True)
  steps = np.arange(1, points + 1)[:, None]
  offsets = np.broadcast_to(direction[:, None, None] * steps, (heads, levels, points, 2))
  return offsets.astype(np.float32)


class DeformableAttention(nn.Module):
  """The attention with its linear layers; names follow the released checkpoints.

  Attributes:
    num_heads: H; divides the channels of the values.
    num_points: Points per head and map, P.
    value_ratio: Channels of the values as a share of the queries' D.
    dtype: Compute dtype; parameters, locations and weights are float32.
  """

  num_heads: int
  num_points: int = 4
  value_ratio: float = 0.5
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, query: jax.Array, features: jax.Array, sizes: Sequence[Size], references: np.ndarray
  ) -> jax.Array:
    """Maps queries [B, Q, D] to [B, Q, D].

    Args:
      query: [B, Q, D].
      features: [B, N, D'], the maps level by level, rows first.
      sizes: (height, width) of each of the L maps.
      references: [Q, 2], the place of each query, x before y, in [0, 1].
    """
    batch, queries, dim = query.shape
    heads, levels, points = self.num_heads, len(sizes), self.num_points
    width = int(dim * self.value_ratio)
    xavier = nn.initializers.xavier_uniform()
    value = nn.Dense(width, kernel_init=xavier, dtype=self.dtype, name="value_proj")(features)
    value = value.reshape(batch, -1, heads, width // heads)
    start = initial_offsets(heads, levels, points).reshape(-1)
    offsets = nn.Dense(
      start.size,
      kernel_init=nn.initializers.zeros,
      bias_init=lambda key, shape, dtype: jnp.asarray(start, dtype),
      name="sampling_offsets",
    )(query.astype(jnp.float32))
    weights = nn.Dense(
      heads * levels * points, kernel_init=nn.initializers.zeros, name="attention_weights"
    )(query.astype(jnp.float32))
    weights = nn.softmax(weights.reshape(batch, queries, heads, levels * points))
    scale = np.array([(w, h) for h, w in sizes], np.float32)  # [L, 2]
    offsets = offsets.reshape(batch, queries, heads, levels, points, 2)
    locations = jnp.asarray(references)[:, None, None, None] + offsets / scale[:, None]
    weights = weights.reshape(batch, queries, heads, levels, points)
    result = deformable_attention(value, sizes, locations, weights)
    project = nn.Dense(dim, kernel_init=xavier, dtype=self.dtype, name="output_proj")
    return project(result.astype(self.dtype))
