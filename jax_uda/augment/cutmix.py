"""CutMix: a box of the target pasted into the source, one box for the whole batch (RCCR).

The box keeps to a grid of cells, so that it covers whole cells of a feature map, too. Golden:
`rccr/cutmix_box`.
"""

import flax
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class CutMixDraws:
  """Random numbers of one box.

  Attributes:
    ratio: Scalar in [0, 1), the box's share of the image's area before rounding.
    offset: [2] in [0, 1), where the box lies within its range, vertically and horizontally.
  """

  ratio: jax.Array
  offset: jax.Array


def draw(key: jax.Array) -> CutMixDraws:
  """Both uniform: the reference's Beta(1, 1) is."""
  ratio_key, offset_key = jax.random.split(key)
  return CutMixDraws(jax.random.uniform(ratio_key), jax.random.uniform(offset_key, (2,)))


def sides(ratio: jax.Array, size: tuple[int, int], cell: int = 8) -> jax.Array:
  """[2] int32 (height, width) of the box in cells: sqrt(ratio) of each side of `size`, rounded down."""
  pixels = jnp.floor(jnp.array(size) * jnp.sqrt(ratio)).astype(jnp.int32)
  return jnp.maximum(pixels // cell, 1)


def num_offsets(ratio: jax.Array, size: tuple[int, int], cell: int = 8) -> jax.Array:
  """[2] int32: how many cells the box's top left corner can lie at, vertically and horizontally.

  One fewer than would fit: as in the reference, the box never reaches the last cell.
  """
  return jnp.maximum(jnp.array(size) // cell - sides(ratio, size, cell), 1)


def box_at(
  ratio: jax.Array, offset_cell: jax.Array, size: tuple[int, int], cell: int = 8
) -> jax.Array:
  """[4] int32 (top, bottom, left, right) in pixels of the box whose corner is cell [2] (y, x)."""
  start = offset_cell * cell
  end = start + sides(ratio, size, cell) * cell
  return jnp.stack([start[0], end[0], start[1], end[1]]).astype(jnp.int32)


def box(draws: CutMixDraws, size: tuple[int, int], cell: int = 8) -> jax.Array:
  """The box [4] (top, bottom, left, right) of an image of `size` (height, width), in pixels.

  Raises:
    ValueError: The image is smaller than two cells.
  """
  if min(size) < 2 * cell:
    raise ValueError(f"an image of {size} is smaller than two cells of {cell} pixels")
  limit = num_offsets(draws.ratio, size, cell)
  return box_at(draws.ratio, jnp.floor(draws.offset * limit).astype(jnp.int32), size, cell)


def inside(box: jax.Array, grid: tuple[int, int], cell: int = 1) -> jax.Array:
  """bool [h, w]: which cells of a map of size `grid` the box covers; pixels for cell = 1."""
  top, bottom, left, right = box // cell
  row, column = jnp.arange(grid[0])[:, None], jnp.arange(grid[1])
  return (row >= top) & (row < bottom) & (column >= left) & (column < right)


def paste(inside: jax.Array, target: jax.Array, source: jax.Array) -> jax.Array:
  """`target` where inside [H,W], else `source`; both [B,H,W] or [B,H,W,D]."""
  return jnp.where(inside if source.ndim == 3 else inside[..., None], target, source)
