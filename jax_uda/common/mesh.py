"""Data parallelism: one jitted program over a mesh whose `data` axis splits the batch.

Programs are written for the global batch. With the batch sharded and the state
replicated, statistics, prototypes and losses are those of the global batch by
construction and XLA places the collectives. (`jax.pmap` is the older spelling
of this and is not needed.)
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def data_mesh(num_devices: int | None = None) -> Mesh:
  """A mesh of all devices (or the first `num_devices`) with the one axis `data`."""
  devices = jax.devices()[:num_devices]
  # The default axis type is Explicit, which rejects operands of mixed sharding.
  return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
  """The same value on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """Axis 0 split over the devices."""
  return NamedSharding(mesh, PartitionSpec("data"))


def is_main_process() -> bool:
  """Whether this process writes the files of the run; the others compute the same and keep quiet."""
  return jax.process_index() == 0


def check_batch_size(batch_size: int, mesh: Mesh, field: str = "batch_size") -> None:
  """Raises ValueError if the devices cannot share `batch_size` images evenly."""
  if batch_size < 1 or batch_size % mesh.size:
    raise ValueError(
      f"config.{field} = {batch_size} cannot be split over {mesh.size} devices; "
      f"use a multiple of {mesh.size}."
    )


def put_batch(mesh: Mesh, batch: Any) -> Any:
  """This process's rows of a batch, as arrays of the global batch; their order there is not said."""
  sharding = split_batch(mesh)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def put_whole(mesh: Mesh, batch: Any) -> Any:
  """A batch of which every process has all rows, split over the devices with its rows in order.

  `put_batch` would make one with the rows of each process, in the order of the devices, which is not that of
  the processes on a TPU pod.
  """
  sharding = split_batch(mesh)
  put = lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda index: x[index])
  return jax.tree.map(put, batch)


def apply_to_rows(mesh: Mesh, apply: Callable[[jax.Array], Any], rows: np.ndarray) -> Any:
  """`apply` of any number of rows [B,...], split over the devices; of its results the same rows, as NumPy arrays.

  Repeats the last row until the devices share them evenly. Every process has all rows and gets all results.
  """
  missing = -len(rows) % mesh.size
  padded = np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows
  found = apply(put_whole(mesh, padded))
  return jax.tree.map(lambda x: np.asarray(x)[: len(rows)], found)


def must_wait(mesh: Mesh) -> bool:
  """Whether steps must not be queued: several CPU devices in a process can deadlock on that."""
  return mesh.size > 1 and jax.default_backend() == "cpu"
