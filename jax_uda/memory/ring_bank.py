"""The last L entries of each class, as a ring: a queue of static shape.

(SePiCo's memory bank, Xie et al., TPAMI 2023; golden `sepico/estimator`.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


class RingBank(NamedTuple):
  """A ring of L entries per class: the next entry of a class goes to slot written % L."""

  entries: jax.Array  # [C, L, A] float32, zeros where nothing was written
  written: jax.Array  # [C] int32: the number of entries ever written

  @property
  def length(self) -> jax.Array:
    """How many entries of each class, from the first on, hold something: [C] int32."""
    return jnp.minimum(self.written, self.entries.shape[1])


def empty_ring_bank(
  num_classes: int, length: int, dim: int, *, zero_entry: bool = False
) -> RingBank:
  """A bank without entries.

  Args:
    num_classes: C.
    length: L, the most entries per class.
    dim: A.
    zero_entry: Whether each class starts with one zero vector, which counts like any other entry
      until the L-th write, as in the reference's banks.

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
  """Appends one entry to every class present; a full class loses its oldest one.

  Args:
    bank: The state so far.
    entries: [C, A], any float dtype; constant. Rows of absent classes are not read.
    present: [C] bool: the classes that get an entry.

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
  entries = jax.lax.stop_gradient(entries.astype(jnp.float32))
  entries = jnp.where(present[:, None], entries, bank.entries[rows, slots])
  return RingBank(
    bank.entries.at[rows, slots].set(entries), bank.written + present.astype(jnp.int32)
  )


def oldest_first(bank: RingBank) -> jax.Array:
  """The entries of each class in the order of their writes, zeros behind them: [C, L, A].

  >>> oldest_first(empty_ring_bank(num_classes=1, length=2, dim=1)).tolist()
  [[[0.0], [0.0]]]
  """
  length = bank.entries.shape[1]
  first = jnp.where(bank.written > length, bank.written % length, 0)
  index = (first[:, None] + jnp.arange(length)) % length
  return jnp.take_along_axis(bank.entries, index[..., None], 1)
