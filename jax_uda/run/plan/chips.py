"""Accelerators: what a program is compiled for, and what a chip can do by its data sheet."""

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator
from typing import Any

from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.registry import SettingError

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """A chip's published peaks.

  Attributes:
    title: The name that people use.
    memory: Bytes of its memory.
    flops: Operations per second in bfloat16, by matrix units.
    bandwidth: Bytes per second between its memory and its units.
    network: Bytes per second between it and the other chips, over all its links in one direction.
  """

  title: str
  memory: float
  flops: float
  bandwidth: float
  network: float


# By the beginning of JAX's `device_kind`. Google Cloud's pages "TPU v4", "TPU v5e", "TPU v5p" and
# "TPU v6e", and NVIDIA's data sheets (without sparsity).
CHIPS = {
  "TPU v4": Chip("TPU v4", 32 * GIB, 275e12, 1228e9, 300e9),
  "TPU v5 lite": Chip("TPU v5e", 16 * GIB, 197e12, 819e9, 200e9),
  "TPU v5e": Chip("TPU v5e", 16 * GIB, 197e12, 819e9, 200e9),
  "TPU v5p": Chip("TPU v5p", 95 * GIB, 459e12, 2765e9, 600e9),
  "TPU v5": Chip("TPU v5p", 95 * GIB, 459e12, 2765e9, 600e9),
  "TPU v6": Chip("TPU v6e", 32 * GIB, 918e12, 1640e9, 448e9),
  "NVIDIA A100": Chip("A100", 80 * GIB, 312e12, 2039e9, 300e9),
  "NVIDIA H100": Chip("H100", 80 * GIB, 989e12, 3350e9, 450e9),
  "NVIDIA H200": Chip("H200", 141 * GIB, 989e12, 4800e9, 450e9),
}
# Names that the TPU compiler takes before the colon.
GENERATIONS = ("v4", "v5e", "v5p", "v6e")
_TOPOLOGY = re.compile(rf"({'|'.join(GENERATIONS)}):\d+x\d+(x\d+)?")
_EXAMPLES = "v5e:2x2, v5e:4x4, v5e:16x16, v6e:4x4, v4:2x2x1 or v5p:2x2x1"


def find(device_kind: str) -> Chip | None:
  """The peaks of a device; None for a processor or an unknown accelerator."""
  names = [name for name in CHIPS if device_kind.startswith(name)]
  return CHIPS[max(names, key=len)] if names else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
  """Silences the compiler's native complaints that this machine is no TPU host."""
  os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
  os.environ.setdefault("TPU_MIN_LOG_LEVEL", "3")
  # The lock is for processes that share a TPU; compilers need none.
  os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
  saved, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
  try:
    os.dup2(null, 2)
    yield
  finally:
    os.dup2(saved, 2)
    os.close(saved)
    os.close(null)


def topology_mesh(name: str, fsdp: int = 1) -> Mesh:
  """A mesh of the chips of a TPU slice, which need not be there.

  Args:
    name: Generation and grid, e.g. "v5e:4x4".
    fsdp: Over how many chips the networks are split.

  Raises:
    SettingError: There is no such slice, or the TPU compiler (libtpu) is not installed.
  """
  if not _TOPOLOGY.fullmatch(name):
    raise SettingError("topology", f"={name} is no TPU slice; slices are, e.g., {_EXAMPLES}.")
  from jax.experimental import topologies

  try:
    with _quiet():
      devices = topologies.get_topology_desc(platform="tpu", topology_name=name).devices
  except Exception as error:  # the plugin raises many types, and long texts
    try:
      import libtpu  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError:
      raise SettingError(
        "topology", f'={name} needs the TPU compiler: pip install "jax-uda[plan]".'
      ) from None
    reason = str(error).splitlines()[0][:200]
    raise SettingError(
      "topology", f"={name}: the TPU compiler has no such slice ({reason}); try {_EXAMPLES}."
    ) from None
  return mesh_lib.over(devices, fsdp)


def memory_of(device: Any) -> float | None:
  """Bytes that programs may use on a device; None where nobody knows."""
  chip = find(device.device_kind)
  if chip:
    return chip.memory
  if device.platform == "cpu":
    return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
  stats = device.memory_stats() or {}
  return stats.get("bytes_limit")
