"""Sums over pairs, block of rows by block of rows, whose gradient costs no second forward pass.

A loss over N anchors and M contrasts needs [N, M] similarities. Taken in blocks of rows under
`jax.checkpoint` they need not be kept, but are computed twice: forward, and again for the gradient. As
the loss is a *sum* over blocks, each block's gradient can be taken at once, while its similarities are
at hand, and only be scaled later by the sum's cotangent. (So there is no second derivative.)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def split_rows(tree: Any, block: int) -> Any:
  """Arrays [N, ...] as [num_blocks, size, ...] with size <= block, padded with zeros.

  Row n goes to block n % num_blocks: rows that lie on several devices in contiguous parts stay where
  they are, and every device has its share of every block.
  """
  num_rows = len(jax.tree.leaves(tree)[0])
  num_blocks = -(-num_rows // block)
  padding = -num_rows % num_blocks

  def split(x: jax.Array) -> jax.Array:
    x = jnp.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1)) if padding else x
    return jnp.moveaxis(x.reshape(-1, num_blocks, *x.shape[1:]), 1, 0)

  return jax.tree.map(split, tree)


def sum_over_blocks(
  loss: Callable[..., jax.Array], rows: Any, shared: Any, row_constants: Any, constants: Any
) -> jax.Array:
  """`sum_b loss(rows[b], shared, row_constants[b], constants)`, differentiable in rows and shared.

  Args:
    loss: Returns a float32 scalar. It closes over no array: all of them are passed.
    rows: Pytree of float arrays [num_blocks, ...].
    shared: Pytree of float arrays, the same for every block; () if none is trained.
    row_constants: Pytree of arrays [num_blocks, ...] of any dtype; no gradient.
    constants: Pytree of arrays of any dtype, the same for every block; no gradient.

  Returns:
    float32 scalar.
  """

  @jax.custom_vjp
  def total(rows, shared, row_constants, constants):
    def step(value, block):
      return value + loss(block[0], shared, block[1], constants), None

    return jax.lax.scan(step, jnp.float32(0), (rows, row_constants))[0]

  def forward(rows, shared, row_constants, constants):
    def step(carry, block):
      value, (row_grad, shared_grad) = jax.value_and_grad(loss, (0, 1))(
        block[0], shared, block[1], constants
      )
      return jax.tree.map(jnp.add, carry, (value, shared_grad)), row_grad

    start = (jnp.float32(0), jax.tree.map(jnp.zeros_like, shared))
    (value, shared_grad), row_grads = jax.lax.scan(step, start, (rows, row_constants))
    return value, (row_grads, shared_grad)

  def backward(residuals, cotangent):
    row_grads, shared_grad = jax.tree.map(lambda grad: cotangent * grad, residuals)
    return row_grads, shared_grad, None, None

  total.defvjp(forward, backward)
  return total(rows, shared, row_constants, constants)
