"""Cells of a pasted box against the teacher's view of the same place, and a queue of cells (RCCR)."""

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.common.registry import SettingError
from jax_uda.memory import region_queue
from jax_uda.ops import labels, resize
from jax_uda.ops.ramp import exponential_ramp
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Context, named_key
from jax_uda.step.objective import Batch, Objective, Result


def region_consistency(
  *,
  view: str,
  source: str,
  target: str,
  head: str,
  dim: int,
  num_rows: int = 4000,
  num_entries: int = 3,
  cell: int = 8,
  positive_threshold: float = 0.75,
  temperature: float = 0.1,
  first_rows: int = 2000,
  weight: float = 0.01,
  ramp_steps: int = 250_000,
  ramp_rate: float = 5.0,
  align_corners: bool = False,
) -> Objective[memory.RegionQueue]:
  """The student's cells inside the box against the teacher's of the target, weighted by a ramp.

  First the queue takes `num_rows` cells of each image kind at random. Then every confident cell inside
  the box is an anchor. The term draws [2, R] uniform numbers, R at least the number of cells B * h * w;
  the cells with the smallest are taken.

  Args:
    view: Its image has a box of the target in it, its weight is 1 inside the box and 0 elsewhere.
    source: The view whose labels hold outside the box.
    target: The view, not augmented, that the box came from.
    head: The head that gives unit vectors [B,h,w,A] of cells of `cell` pixels.
    dim: Channels of the head, A.
    num_rows: Cells of each kind in an entry.
    num_entries: Steps that the queue remembers, the current one included.
    cell: Side of a cell in pixels.
    positive_threshold: The teacher's confidence above which a cell is an anchor.
    temperature: Divides the similarities.
    first_rows: See `losses.region_contrast`.
    weight: Factor of the term at the end of the ramp.
    ramp_steps: Length of the ramp (`ops.ramp.exponential_ramp`).
    ramp_rate: Steepness of the ramp.
    align_corners: Corner alignment when the teacher's logits are resized to the cells.

  Raises:
    SettingError: When tracing: there are fewer cells than `num_rows`, or the map is not one of `cell`.

  Source: RCCR (Zhou et al., ICME 2022), reference code; golden `rccr/train_steps`.
  """

  def init(key) -> memory.RegionQueue:
    del key  # an empty queue needs no randomness
    return memory.empty_region_queue(num_entries, 2 * num_rows, dim)

  def draw(key: jax.Array, batch: Batch) -> jax.Array:
    """[2, R] uniform numbers that choose cells for the queue, of the CutMix view and of the target."""
    batch_size, height, width = batch["source"]["image"].shape[:3]
    cells = batch_size * (height // cell + 1) * (width // cell + 1)
    key = named_key(named_key(key, "region_consistent"), "rows")
    return jax.random.uniform(key, (2, cells))

  def apply(state: memory.RegionQueue, ctx: Context, draws: jax.Array) -> Result:
    mixed, teacher = ctx.student(view).heads[head], ctx.teacher(target)
    embedding, grid = teacher.heads[head], size_of(mixed)
    label, confidence = _pseudo_labels(teacher.decoded.logits, grid, align_corners)
    inside = _in_box(ctx.views[view].weight, grid, cell)
    mixed_label = jnp.where(inside, label, labels.nearest_label(ctx.views[source].label, grid))
    chosen = _choose(draws, label.size, num_rows)
    take = lambda a, b: jnp.concatenate(
      [x.reshape(-1, *x.shape[3:])[rows] for x, rows in zip((a, b), chosen, strict=True)]
    )
    state = region_queue.push(state, take(mixed, embedding), take(mixed_label, label))
    queue = region_queue.rows(state)
    anchors = inside & (confidence > positive_threshold)
    loss = losses.region_contrast(
      mixed,
      embedding,
      label,
      queue.embeddings,
      queue.labels,
      weights=anchors.astype(jnp.float32),
      queue_valid=queue.valid,
      temperature=temperature,
      first_rows=first_rows,
    )
    factor = exponential_ramp(ctx.step, ramp_steps, weight=weight, rate=ramp_rate)
    metrics = {"raw": loss, "weight": factor, "anchors": jnp.sum(anchors)}
    return Result(factor * loss, state, metrics)

  return Objective(init, apply, draw)


def _in_box(weight: jax.Array, grid: tuple[int, int], cell: int) -> jax.Array:
  """[B, *grid] bool: cells whose first pixel is in the box; a grid may have one cell more.

  Args:
    weight: [B,H,W], above 0 inside the box.
    grid: (height, width) of the head's map.
    cell: Side of a cell in pixels.

  Raises:
    SettingError: The map is not one of cells of that side.
  """
  sides = size_of(weight)
  if any(g not in (side // cell, side // cell + 1) for g, side in zip(grid, sides, strict=True)):
    raise SettingError(
      "method",
      f": the map {grid} of the region head has no cells of {cell} pixels on images {sides}: cell must "
      "be the stride of the encoder's or decoder's map times pool.",
    )
  inside = weight[:, ::cell, ::cell][:, : grid[0], : grid[1]] > 0
  missing = [(0, 0), *((0, g - n) for g, n in zip(grid, inside.shape[1:], strict=True))]
  return jnp.pad(inside, missing)


def _pseudo_labels(
  logits: jax.Array, grid: tuple[int, int], align_corners: bool
) -> tuple[jax.Array, jax.Array]:
  """The teacher's labels of the cells and their confidence, both [B, *grid]."""
  probability = jax.nn.softmax(resize.bilinear(logits, grid, align_corners))
  return jnp.argmax(probability, -1), jnp.max(probability, -1)


def _choose(uniforms: jax.Array, num_cells: int, num_rows: int) -> jax.Array:
  """[2, num_rows] indices below `num_cells`, without replacement."""
  if num_cells < num_rows:
    raise SettingError(
      "method.region_consistent.contrast.num_rows",
      f"= {num_rows}, but a batch has {num_cells} cells only: set it to {num_cells} or fewer.",
    )
  return jnp.argsort(uniforms[:, :num_cells], -1)[:, :num_rows]
