"""The last L entries of each class, as a ring: a queue of static shape.

(SePiCo's memory bank, Xie et al., TPAMI 2023; golden `sepico/estimator`.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


class RingBank(NamedTuple):
  """`written` counts all writes ever to a class; the next goes to slot written % L."""

  entries: jax.Array  # [C, L, A] float32, zeros where nothing was written
  written: jax.Array  # [C] int32

  @property
  def length(self) -> jax.Array:
    """[C] int32: the entries 0..length-1 hold something."""
    return jnp.minimum(self.written, self.entries.shape[1])


def empty_ring_bank(
  num_classes: int, length: int, dim: int, *, zero_entry: bool = False
) -> RingBank:
  """A bank without entries.

  Args:
    num_classes: C.
    length: L, the most entries of a class.
    dim: A.
    zero_entry: Each class starts with one zero vector, which counts like any other entry until
      the L-th write; so do the reference's banks.

  Raises:
    ValueError: A size is not above 0.

  >>> empty_ring_bank(num_classes=2, length=3, dim=4, zero_entry=True).length.tolist()
  [1, 1]
  """
  for name, value in (("num_classes", num_classes), ("length", length), ("dim", dim)):
    arrays.check_positive(name, value)
  written = jnp.full(num_classes, int(zero_entry), jnp.int32)
  return RingBank(jnp.zeros((num_classes, length, dim), jnp.float32), written)


def push(bank: RingBank, entries: jax.Array, present: jax.Array) -> RingBank:
  """Appends one entry to every class present; a full class loses its oldest.

  Args:
    bank: The state so far.
    entries: [C, A], any float dtype; constant. Rows of absent classes are not read.
    present: [C] bool.

  Returns:
    The next RingBank.

  Raises:
    ValueError: A shape or dtype does not fit.

  >>> import jax.numpy as jnp
  >>> bank = empty_ring_bank(num_classes=1, length=2, dim=1)
  >>> for value in (1.0, 2.0, 3.0):
  ...   bank = push(bank, jnp.array([[value]]), jnp.array([True]))
  >>> oldest_first(bank).tolist()
  [[[2.0], [3.0]]]
  """
  num_classes, length, dim = bank.entries.shape
  arrays.check_float("entries", entries)
  arrays.check_shape("entries", entries, (num_classes, dim), of="banks")
  arrays.check_shape("present", present, (num_classes,), of="banks")
  if present.dtype != jnp.bool_:
    raise ValueError(f"present has dtype {present.dtype}; expected bool")
  rows, slots = jnp.arange(num_classes), bank.written % length
  kept = bank.entries[rows, slots]
  entries = jax.lax.stop_gradient(entries.astype(jnp.float32))
  written = jnp.where(present[:, None], entries, kept)
  return RingBank(
    bank.entries.at[rows, slots].set(written), bank.written + present.astype(jnp.int32)
  )


def oldest_first(bank: RingBank) -> jax.Array:
  """[C, L, A]: each class's entries in the order of their writes, zeros behind them."""
  length = bank.entries.shape[1]
  first = jnp.where(bank.written > length, bank.written % length, 0)
  index = (first[:, None] + jnp.arange(length)) % length
  return jnp.take_along_axis(bank.entries, index[..., None], 1)
