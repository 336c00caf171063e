"""Data parallelism: one jitted program over a mesh whose axes `data` and `fsdp` split the batch.

Programs are written for the global batch. Statistics, prototypes and losses are those of
the global batch by construction, and XLA places the collectives. The state is on every device, but
for what `jax_uda.step.sharding` splits over `fsdp`. (`jax.pmap` is the older spelling
of this and is not needed.)
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jax_uda.common.registry import SettingError

DATA, FSDP = "data", "fsdp"  # the axes of a mesh


def data_mesh(num_devices: int | None = None) -> Mesh:
  """A mesh of all devices, or the first `num_devices`, that split the batch alone."""
  return over(jax.devices()[:num_devices])


def over(devices: Sequence[Any], fsdp: int = 1) -> Mesh:
  """A mesh of some devices, which need not be there.

  Args:
    devices: The devices.
    fsdp: Over how many neighbours the networks are split, see `jax_uda.step.sharding`.

  Raises:
    SettingError: The devices cannot be grouped so.
  """
  if fsdp < 1 or len(devices) % fsdp:
    raise SettingError("fsdp", f"= {fsdp} does not divide the number of devices, {len(devices)}.")
  # The default axis type is Explicit, which rejects operands of mixed sharding.
  return jax.make_mesh(
    (len(devices) // fsdp, fsdp), (DATA, FSDP), axis_types=(AxisType.Auto,) * 2, devices=devices
  )


def mesh_of(num_devices: int, fsdp: int = 1) -> Mesh:
  """The mesh of `config.devices` and `config.fsdp`.

  Args:
    num_devices: So many in all, the first ones of each process; 0 for all.
    fsdp: Over how many the networks are split.

  Raises:
    SettingError: There are not so many devices, or they cannot be shared so.
  """
  devices, processes = jax.devices(), jax.process_count()
  if not 0 <= num_devices <= len(devices):
    raise SettingError("devices", f"= {num_devices}, but there are {len(devices)}; 0 takes all.")
  if num_devices % processes:
    raise SettingError(
      "devices",
      f"= {num_devices} cannot be split over {processes} processes; use a multiple of {processes}.",
    )
  if not num_devices:
    return over(devices, fsdp)
  each = num_devices // processes
  chosen = [
    d for p in range(processes) for d in [d for d in devices if d.process_index == p][:each]
  ]
  return over(chosen, fsdp)


def replicated(mesh: Mesh) -> NamedSharding:
  """The same value on every device."""
  return NamedSharding(mesh, PartitionSpec())


def split_batch(mesh: Mesh) -> NamedSharding:
  """Axis 0 split over all axes of the mesh."""
  return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def is_main_process() -> bool:
  """Whether this process writes the files of the run and prints; the others only compute."""
  return jax.process_index() == 0


def check_batch_size(batch_size: int, mesh: Mesh) -> None:
  """Raises SettingError if the devices cannot share `batch_size` images evenly."""
  if batch_size < 1 or batch_size % mesh.size:
    fewer = max((n for n in range(1, mesh.size) if batch_size % n == 0), default=1)
    raise SettingError(
      "batch_size",
      f"= {batch_size} cannot be split over {mesh.size} devices; use a multiple of {mesh.size}, or "
      f"--config.devices={fewer}.",
    )


def put_batch(mesh: Mesh, batch: Any) -> Any:
  """Assembles the global batch from the rows of each process.

  Args:
    mesh: The devices that share the batch.
    batch: A pytree of arrays [b, ...], the rows of this process.

  Returns:
    The same pytree of arrays [B, ...], split over the devices. The order of the rows across processes is
    unspecified; within a process they stay together.
  """
  sharding = split_batch(mesh)
  return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


def put_whole(mesh: Mesh, batch: Any) -> Any:
  """Splits a batch of which every process has all rows over the devices; the rows keep their order.

  `put_batch` would order the rows as the devices are ordered, which on a TPU pod is not the order of the
  processes.

  Args:
    mesh: The devices that share the batch.
    batch: A pytree of arrays [B, ...].
  """
  sharding = split_batch(mesh)
  put = lambda x: jax.make_array_from_callback(np.shape(x), sharding, lambda index: x[index])
  return jax.tree.map(put, batch)


def fill_rows(mesh: Mesh, rows: np.ndarray) -> np.ndarray:
  """[B, ...] -> [B', ...], with the last row repeated until the devices can share the rows evenly."""
  missing = -len(rows) % mesh.size
  return np.concatenate([rows, np.repeat(rows[-1:], missing, 0)]) if missing else rows


def apply_to_rows(mesh: Mesh, apply: Callable[[jax.Array], Any], rows: np.ndarray) -> Any:
  """Applies a function to any number of rows, shared by the devices.

  The last row is repeated until the devices can share the rows evenly. Every process has all rows and gets
  all results.

  Args:
    mesh: The devices that share the rows.
    apply: From rows [B', ...] to a pytree of arrays [B', ...].
    rows: [B, ...].

  Returns:
    The results for the B rows, as NumPy arrays.
  """
  results = apply(put_whole(mesh, fill_rows(mesh, rows)))
  return jax.tree.map(lambda x: np.asarray(x)[: len(rows)], results)


def must_wait(mesh: Mesh) -> bool:
  """Whether steps must not be queued: several CPU devices in a process can deadlock on that."""
  return mesh.size > 1 and jax.default_backend() == "cpu"
