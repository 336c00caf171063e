"""The labelled embeddings of the last steps, oldest step out first (RCCR's memory bank).

Each step leaves one entry of R rows, whatever their classes and images. (Zhou et al., ICME 2022; golden
`rccr/region_contrast`.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays


class RegionQueue(NamedTuple):
  """A queue of n entries as a ring: the next entry goes to slot written % n."""

  embeddings: jax.Array  # [n, R, A] float32
  labels: jax.Array  # [n, R] int32
  written: jax.Array  # scalar int32: the number of entries ever pushed

  @property
  def length(self) -> jax.Array:
    """The number of entries in the queue, a scalar int32."""
    return jnp.minimum(self.written, self.embeddings.shape[0])


class Rows(NamedTuple):
  """The queue as one list, oldest entry first."""

  embeddings: jax.Array  # [n * R, A] float32
  labels: jax.Array  # [n * R] int32
  valid: jax.Array  # [n * R] bool


def empty_region_queue(num_entries: int, num_rows: int, dim: int) -> RegionQueue:
  """A queue of `num_entries` steps of `num_rows` embeddings of `dim` each, without entries.

  Raises:
    ValueError: A size is not above 0.

  >>> queue = empty_region_queue(num_entries=3, num_rows=8, dim=4)
  >>> queue.embeddings.shape, int(queue.length)
  ((3, 8, 4), 0)
  """
  for name, value in (("num_entries", num_entries), ("num_rows", num_rows), ("dim", dim)):
    arrays.check_positive(name, value)
  return RegionQueue(
    jnp.zeros((num_entries, num_rows, dim), jnp.float32),
    jnp.full((num_entries, num_rows), 255, jnp.int32),
    jnp.int32(0),
  )


def push(queue: RegionQueue, embeddings: jax.Array, labels: jax.Array) -> RegionQueue:
  """Appends one entry; a full queue loses its oldest one.

  Args:
    queue: The state so far.
    embeddings: [R, A], any float dtype; constant.
    labels: [R] integers.

  Returns:
    The next RegionQueue.

  Raises:
    ValueError: A shape or dtype does not fit.

  >>> import jax.numpy as jnp
  >>> queue = empty_region_queue(num_entries=2, num_rows=1, dim=1)
  >>> for value in (1.0, 2.0, 3.0):
  ...   queue = push(queue, jnp.array([[value]]), jnp.array([0]))
  >>> rows(queue).embeddings.tolist()
  [[2.0], [3.0]]
  """
  num_entries, *shape = queue.embeddings.shape
  arrays.check_float("embeddings", embeddings)
  arrays.check_shape("embeddings", embeddings, tuple(shape), of="queue entries")
  arrays.check_labels("labels", labels, tuple(shape[:1]), of="queue entries")
  slot = queue.written % num_entries
  embeddings = jax.lax.stop_gradient(embeddings.astype(jnp.float32))
  return RegionQueue(
    queue.embeddings.at[slot].set(embeddings),
    queue.labels.at[slot].set(labels.astype(jnp.int32)),
    queue.written + 1,
  )


def rows(queue: RegionQueue) -> Rows:
  """All rows, the oldest entry first; slots without an entry come last and are not valid.

  >>> rows(empty_region_queue(num_entries=2, num_rows=1, dim=1)).valid.tolist()
  [False, False]
  """
  num_entries, num_rows, dim = queue.embeddings.shape
  first = jnp.where(queue.written > num_entries, queue.written % num_entries, 0)
  order = (first + jnp.arange(num_entries)) % num_entries
  valid = jnp.repeat(jnp.arange(num_entries) < queue.length, num_rows)
  return Rows(queue.embeddings[order].reshape(-1, dim), queue.labels[order].reshape(-1), valid)
