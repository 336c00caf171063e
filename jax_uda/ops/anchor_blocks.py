"""Losses over anchors, block by block, whose gradient is computed along with their value.

A contrastive loss sums one row per anchor, and each row needs all contrasts: [N, N] at once, but only
[block, N] by blocks. Checkpointed blocks compute every similarity twice, once for the value and once
for the gradient. But the sum is a scalar: its gradient is known up to one factor while a block is
still at hand. So the pass that computes the value leaves the gradient behind, [N, A], as well.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp

Tree = Any  # a pytree of arrays
# From (anchors, contrasts, fixed anchors, fixed contrasts) of one block to its rows: a tree of [rows].
RowsOf = Callable[[Tree, Tree, Tree, Tree], Tree]


class Layout:
  """How N = groups * length anchors are distributed over blocks.

  Every block takes an equal share of *every* group. A group is an image: if the batch is split over
  devices, each device has an equal part of every block, and no block belongs to one device alone.
  """

  def __init__(self, groups: int, length: int, block: int):
    """Lays out `groups` images of `length` anchors in blocks of about `block` anchors."""
    self._groups, self._length = groups, length
    self._steps = math.ceil(length / max(1, block // groups))
    self._rows = math.ceil(length / self._steps)

  @classmethod
  def of(cls, embeddings: jax.Array, block: int) -> "Layout":
    """The layout of embeddings [..., A]; with three or more axes, axis 0 counts the images."""
    count = embeddings.size // embeddings.shape[-1]
    groups = embeddings.shape[0] if embeddings.ndim > 2 else 1
    return cls(groups, count // groups, block)

  def split(self, x: jax.Array) -> jax.Array:
    """Reshapes x [N, ...] to [steps, rows, ...]; rows beyond the last anchor are 0."""
    x = x.reshape(self._groups, self._length, *x.shape[1:])
    padding = self._steps * self._rows - self._length
    x = jnp.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2))
    x = x.reshape(self._groups, self._steps, self._rows, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0).reshape(self._steps, -1, *x.shape[3:])

  def join(self, x: jax.Array) -> jax.Array:
    """Inverts `split`: from [steps, rows, ...] to [N, ...]."""
    x = jnp.moveaxis(x.reshape(self._steps, self._groups, self._rows, *x.shape[2:]), 0, 1)
    x = x.reshape(self._groups, -1, *x.shape[3:])[:, : self._length]
    return x.reshape(-1, *x.shape[2:])


def total(
  rows_of: RowsOf,
  anchors: Tree,
  contrasts: Tree,
  fixed_anchors: Tree,
  fixed_contrasts: Tree,
  weights: jax.Array,
) -> tuple[jax.Array, Tree]:
  """The sum over all anchors of weight * row; where a row is a tree, of all its leaves.

  It can be differentiated once or more in reverse mode, but not in forward mode.

  Args:
    rows_of: Computes the rows of one block. It must not close over traced values.
    anchors: Arrays [steps, rows, ...], one block per step.
    contrasts: Arrays that every block sees whole.
    fixed_anchors: Arrays like `anchors`, constant.
    fixed_contrasts: Arrays like `contrasts`, constant.
    weights: [steps, rows] float32, constant; a row of weight 0 is left out.

  Returns:
    The float32 sum, and the rows of all blocks [steps, rows], which carry no gradient.
  """
  return _total(rows_of, anchors, contrasts, fixed_anchors, fixed_contrasts, weights)


def each(
  rows_of: RowsOf, anchors: Tree, contrasts: Tree, fixed_anchors: Tree, fixed_contrasts: Tree
) -> Tree:
  """The rows of all blocks [steps, rows], with their gradients; the arguments are those of `total`.

  A gradient per row cannot be left behind, so the backward pass computes each block again.
  """
  block = jax.checkpoint(lambda x: rows_of(x[0], contrasts, x[1], fixed_contrasts))
  return jax.lax.map(block, (anchors, fixed_anchors))


def reduce(
  layout: Layout,
  rows_of: RowsOf,
  arguments: tuple[Tree, Tree, Tree, Tree],
  weights: jax.Array,
  reduction: Literal["mean", "none"],
) -> jax.Array:
  """The weighted mean of all rows, or the rows themselves.

  Args:
    layout: How the N anchors are distributed over blocks.
    rows_of: Computes the rows of one block, [rows]; see `total`.
    arguments: The anchors (already split), contrasts, fixed anchors (split) and fixed contrasts.
    weights: [N] float32, constant.
    reduction: "mean", or "none" for the rows, 0 where the weight is 0.

  Returns:
    float32, a scalar or [N]. Without a positive weight: value and gradient are exactly 0.
  """
  if reduction == "none":
    return jnp.where(weights > 0, layout.join(each(rows_of, *arguments)), 0.0)
  value, _ = total(rows_of, *arguments, layout.split(weights))
  return value / jnp.where(jnp.sum(weights) > 0, jnp.sum(weights), 1.0)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _total(rows_of, anchors, contrasts, fixed_anchors, fixed_contrasts, weights):
  def step(value, block):
    more, rows = _weighted(rows_of, block[0], contrasts, block[1], fixed_contrasts, block[2])
    return value + more, rows

  return jax.lax.scan(step, jnp.float32(0), (anchors, fixed_anchors, weights))


def _weighted(
  rows_of: RowsOf,
  anchors: Tree,
  contrasts: Tree,
  fixed_anchors: Tree,
  fixed_contrasts: Tree,
  weights: jax.Array,
) -> tuple[jax.Array, Tree]:
  """The weighted sum of one block's rows, and the rows."""
  rows = rows_of(anchors, contrasts, fixed_anchors, fixed_contrasts)
  weighted = [jnp.sum(jnp.where(weights > 0, weights * row, 0.0)) for row in jax.tree.leaves(rows)]
  return sum(weighted[1:], start=weighted[0]), rows


def _forward(rows_of, anchors, contrasts, fixed_anchors, fixed_contrasts, weights):
  value_and_grad = jax.value_and_grad(functools.partial(_weighted, rows_of), (0, 1), has_aux=True)

  def step(carry, block):
    (more, rows), (d_anchors, d_contrasts) = value_and_grad(
      block[0], contrasts, block[1], fixed_contrasts, block[2]
    )
    return jax.tree.map(jnp.add, carry, (more, d_contrasts)), (rows, d_anchors)

  start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, contrasts))
  blocks = (anchors, fixed_anchors, weights)
  (value, d_contrasts), (rows, d_anchors) = jax.lax.scan(step, start, blocks)
  return (value, rows), (d_anchors, d_contrasts)


def _backward(rows_of, gradients, cotangents):
  del rows_of
  d_value, _ = cotangents
  return *jax.tree.map(lambda g: d_value * g, gradients), None, None, None


_total.defvjp(_forward, _backward)
