"""Checksums of a state's arrays, so that a wrong byte on a disk never becomes a wrong number.

They are taken from the values in memory before anything is written, and compared with the values in
memory after they were read. The storage has checksums of its own for a part of its bytes only.
"""

import json
import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils


class Checksum(NamedTuple):
  """What an array was when it was saved.

  Attributes:
    dtype: Its dtype; that of its numbers for a random key.
    shape: Its shape; that of its numbers for a random key.
    crc: CRC-32 of its bytes in C order.
  """

  dtype: str
  shape: tuple[int, ...]
  crc: int


class Damage(ValueError):
  """Values that are not those that were saved, or a record of checksums that is not whole."""


def name_of(path: Any) -> str:
  """The name of a leaf, its path with dots: `student.params.encoder.…`."""
  return jax.tree_util.keystr(path, simple=True, separator=".")


def host_copy(value: Any) -> np.ndarray:
  """The whole array in the memory of this process; every process of a run has to call it.

  Args:
    value: An array on any devices; of a random key, its numbers are returned.
  """
  if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
    value = jax.random.key_data(value)
  if isinstance(value, jax.Array) and not (value.is_fully_addressable or value.is_fully_replicated):
    value = multihost_utils.process_allgather(value, tiled=True)
  return np.asarray(value)


def form_of(value: Any) -> tuple[str, tuple[int, ...]]:
  """The dtype and the shape of an array or its description, as its checksum has them."""
  value = jax.ShapeDtypeStruct(value.shape, value.dtype)
  if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
    value = jax.eval_shape(jax.random.key_data, value)
  return value.dtype.name, tuple(value.shape)


def checksum(value: Any) -> Checksum:
  """The checksum of one array."""
  array = host_copy(value)
  flat = np.ascontiguousarray(array).reshape(-1)
  # As bytes, for bfloat16 has no buffer that zlib reads.
  return Checksum(array.dtype.name, array.shape, zlib.crc32(flat.view(np.uint8).data))


def checksums(tree: Any) -> dict[str, Checksum]:
  """The checksums of all arrays of a pytree, by name."""
  return {name_of(path): checksum(value) for path, value in jax.tree.leaves_with_path(tree)}


def check(tree: Any, expected: Mapping[str, Checksum]) -> None:
  """Compares arrays that were read with what was saved.

  Args:
    tree: The arrays; all or some of those that were saved.
    expected: The checksums of those that were saved, by name.

  Raises:
    Damage: An array differs, or was not saved.
  """
  for path, value in jax.tree.leaves_with_path(tree):
    name = name_of(path)
    if name not in expected:
      raise Damage(f"{name} was not saved")
    if checksum(value) != expected[name]:
      raise Damage(f"{name} does not have the values that were saved")


def to_record(checksums: Mapping[str, Checksum]) -> dict[str, Any]:
  """Checksums as plain values for a JSON file, with a checksum of themselves."""
  arrays = {name: [item.dtype, list(item.shape), item.crc] for name, item in checksums.items()}
  return {"arrays": arrays, "crc": _crc(arrays)}


def from_record(record: Any) -> dict[str, Checksum]:
  """The checksums of `to_record`.

  Raises:
    Damage: The record is not what `to_record` returned.
  """
  try:
    arrays, crc = record["arrays"], record["crc"]
    if _crc(arrays) != crc:
      raise Damage("its checksums are not those that were saved")
    return {
      name: Checksum(dtype, tuple(shape), value) for name, (dtype, shape, value) in arrays.items()
    }
  except (KeyError, TypeError, ValueError, AttributeError):
    raise Damage("its checksums are not those that were saved") from None


def _crc(arrays: Any) -> int:
  return zlib.crc32(json.dumps(arrays, sort_keys=True).encode())
