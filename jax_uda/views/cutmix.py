"""CutMix: a box of the target pasted into the source, one box for the whole batch (RCCR).

The box lies on a grid of cells, so that it covers whole cells of a feature map, too. Golden:
`rccr/cutmix_box`.
"""

import jax
import jax.numpy as jnp
from flax import struct


class CutMixDraws(struct.PyTreeNode):
  """Random numbers of one box.

  Attributes:
    ratio: Scalar in [0, 1), the box's share of the image's area before rounding.
    offset: [2] in [0, 1), where the box lies within its range, vertically and horizontally.
  """

  ratio: jax.Array
  offset: jax.Array


def draw(key: jax.Array) -> CutMixDraws:
  """Draws both uniformly; the reference draws the ratio from Beta(1, 1), which is uniform."""
  ratio_key, offset_key = jax.random.split(key)
  return CutMixDraws(jax.random.uniform(ratio_key), jax.random.uniform(offset_key, (2,)))


def sides(ratio: jax.Array, size: tuple[int, int], cell: int = 8) -> jax.Array:
  """[2] int32 (height, width) of the box in cells: sqrt(ratio) of each side of `size`, rounded down."""
  pixels = jnp.floor(jnp.array(size) * jnp.sqrt(ratio)).astype(jnp.int32)
  return jnp.maximum(pixels // cell, 1)


def num_offsets(ratio: jax.Array, size: tuple[int, int], cell: int = 8) -> jax.Array:
  """[2] int32: number of cells at which the box's top left corner can lie, vertically and horizontally.

  One fewer than would fit: as in the reference, the box never reaches the last cell.
  """
  return jnp.maximum(jnp.array(size) // cell - sides(ratio, size, cell), 1)


def cutmix_box(
  ratio: jax.Array, offset: jax.Array, size: tuple[int, int], cell: int = 8
) -> jax.Array:
  """The box [4] int32 (top, bottom, left, right) in pixels, for the whole batch.

  Args:
    ratio: Scalar in [0, 1), the box's share of the image's area before rounding.
    offset: [2] in [0, 1), where the box lies within its range, vertically and horizontally.
    size: (height, width) of the image in pixels.
    cell: Side of a cell in pixels.

  Raises:
    ValueError: The image is smaller than two cells.
  """
  if min(size) < 2 * cell:
    raise ValueError(f"size = {size} is smaller than two cells of {cell} pixels")
  height, width = sides(ratio, size, cell)
  top, left = jnp.floor(offset * num_offsets(ratio, size, cell)).astype(jnp.int32)
  return cell * jnp.stack([top, top + height, left, left + width])


def box_mask(box: jax.Array, grid: tuple[int, int], cell: int = 1) -> jax.Array:
  """bool [h, w]: which cells of a map of size `grid` the box covers; pixels for cell = 1."""
  top, bottom, left, right = box // cell
  row, column = jnp.arange(grid[0])[:, None], jnp.arange(grid[1])
  return (row >= top) & (row < bottom) & (column >= left) & (column < right)


def paste(mask: jax.Array, target: jax.Array, source: jax.Array) -> jax.Array:
  """`target` where mask [H,W], else `source`; both [B,H,W] or [B,H,W,D]."""
  return jnp.where(mask if source.ndim == 3 else mask[..., None], target, source)
