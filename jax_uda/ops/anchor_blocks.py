"""A sum over anchors, block by block, whose gradient is computed along with its value.

A contrastive loss is a sum over anchors of something that needs all contrasts: [N, N] at once. By
blocks it needs [block, N]. Checkpointed blocks would compute every similarity twice, once for the
value and once for the gradient. But the sum is a scalar: its gradient is known up to one factor
while a block is still at hand, so the value's pass leaves the gradient behind, [N, A], instead.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Tree = Any  # of arrays


class Layout:
  """How N = groups * length anchors are dealt out to blocks.

  Each block takes its share of *every* group. A group is an image; so if the batch is split over
  devices, every device has an equal part in every block, and no block is one device's alone.
  """

  def __init__(self, groups: int, length: int, block: int):
    self._groups, self._length = groups, length
    self._steps = math.ceil(length / max(1, block // groups))
    self._rows = math.ceil(length / self._steps)

  def split(self, x: jax.Array) -> jax.Array:
    """x [N, ...] as [steps, rows, ...]; rows beyond the last anchor are 0."""
    x = x.reshape(self._groups, self._length, *x.shape[1:])
    padding = self._steps * self._rows - self._length
    x = jnp.pad(x, [(0, 0), (0, padding)] + [(0, 0)] * (x.ndim - 2))
    x = x.reshape(self._groups, self._steps, self._rows, *x.shape[2:])
    return jnp.moveaxis(x, 1, 0).reshape(self._steps, -1, *x.shape[3:])

  def join(self, x: jax.Array) -> jax.Array:
    """The inverse of `split`."""
    x = jnp.moveaxis(x.reshape(self._steps, self._groups, self._rows, *x.shape[2:]), 0, 1)
    x = x.reshape(self._groups, -1, *x.shape[3:])[:, : self._length]
    return x.reshape(-1, *x.shape[2:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def total(
  loss: Callable, anchors: Tree, contrasts: Tree, fixed_anchors: Tree, fixed_contrasts: Tree
) -> tuple[jax.Array, Tree]:
  """Sum over blocks of `loss(anchors, contrasts, fixed_anchors, fixed_contrasts)[0]`.

  Differentiable once or more in reverse mode, not in forward mode.

  Args:
    loss: (scalar, terms) of one block. A function of a module: it may close over nothing traced.
    anchors: Arrays [steps, rows, ...], a block each step.
    contrasts: Arrays that every block sees whole.
    fixed_anchors: Like `anchors`, constant.
    fixed_contrasts: Like `contrasts`, constant.

  Returns:
    The float32 sum, and all blocks' `terms` stacked, which carry no gradient.
  """

  def step(value, block):
    more, terms = loss(block[0], contrasts, block[1], fixed_contrasts)
    return value + more, terms

  return jax.lax.scan(step, jnp.float32(0), (anchors, fixed_anchors))


def _forward(loss, anchors, contrasts, fixed_anchors, fixed_contrasts):
  value_and_grad = jax.value_and_grad(loss, (0, 1), has_aux=True)

  def step(carry, block):
    (more, terms), (d_anchors, d_contrasts) = value_and_grad(
      block[0], contrasts, block[1], fixed_contrasts
    )
    return jax.tree.map(jnp.add, carry, (more, d_contrasts)), (terms, d_anchors)

  start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, contrasts))
  (value, d_contrasts), (terms, d_anchors) = jax.lax.scan(step, start, (anchors, fixed_anchors))
  return (value, terms), (d_anchors, d_contrasts)


def _backward(loss, gradients, cotangents):
  del loss
  d_value, _ = cotangents
  return *jax.tree.map(lambda g: d_value * g, gradients), None, None


total.defvjp(_forward, _backward)
