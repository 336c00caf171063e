"""The plan of a run: memory, operations, exchanges and time of its largest step, by the compiler."""

import dataclasses
import re
import time
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from jax_uda.common.registry import SettingError
from jax_uda.run import experiment
from jax_uda.run.config_dict import ConfigDict
from jax_uda.run.plan import chips, operations, program, shapes
from jax_uda.run.plan.program import Collective

# What needs less memory, in the order in which it should be tried; the compute dtype is first.
REMEDIES = (
  ("compute_dtype", "bfloat16"),
  ("gradient_by_groups", True),
  ("model.encoder_options.remat", True),
)
GATHERED = 2**20  # bytes
# As the TPU compiler words it: "(19.03G) exceeds available HBM (15.75G)", or "Used 20.1G of 15.75G hbm".
_USED = re.compile(r"(?:\(|Used )([\d.]+)([KMG])\)? (?:exceeds available HBM|of [\d.]+[KMG] hbm)")
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


@dataclasses.dataclass(frozen=True)
class Plan:
  """What the largest step of a run needs on each device.

  Attributes:
    title: The run.
    devices: How many devices share the batch, and their kind.
    batch_size: Images of each domain, over all devices.
    phase: The first step of the phase that was compiled, the last one of the method.
    fits: Whether the peak is within the memory of a device; None where that is unknown.
    memory: Bytes of a device's memory; None where nobody knows.
    peak: Bytes at the fullest moment. Where the program does not fit, what it would have needed.
    state: Bytes of the train state on one device.
    largest_split: Bytes of the largest array that is split over devices; 0 without `config.fsdp`.
    batch: Bytes of a device's part of the batch.
    temporaries: Bytes of everything between; None where the program does not fit.
    operations: Multiplications and additions of matrix units in a step, over all devices.
    bytes_moved: Bytes between memory and units; None where the program does not fit.
    seconds: Lower bounds of a step by the chip's published peaks; by "compute", "memory", "network".
    collectives: Exchanges between devices, the largest first.
    compile_seconds: How long tracing and compiling took on this machine.
    remedies: Settings that need less memory and are not on yet.
  """

  title: str
  devices: tuple[int, str]
  batch_size: int
  phase: int
  fits: bool | None
  memory: float | None
  peak: int
  state: int
  largest_split: int
  batch: int
  temporaries: int | None
  operations: int
  bytes_moved: int | None
  seconds: dict[str, float]
  collectives: list[Collective]
  compile_seconds: float
  remedies: list[str]

  def to_plain(self) -> dict[str, Any]:
    """The content of `plan.json`."""
    plain = dataclasses.asdict(self)
    return plain | {"collectives": [item._asdict() for item in self.collectives]}


def of_run(config: ConfigDict, title: str, mesh: Mesh) -> Plan:
  """Compiles the step of a run's last phase and reads what it needs.

  Args:
    config: The config of one run or of one stage.
    title: What the plan is called.
    mesh: The devices, which need not be there.

  Raises:
    SettingError: A field of the config does not fit.
  """
  parts = shapes.of_config(config, mesh)
  phase = parts.learner.method.phase(parts.settings.end_step - 1)
  began = time.perf_counter()
  traced = parts.learner.step_of(phase).trace(parts.state, parts.batch)
  num_operations = operations.count(traced.jaxpr)
  device = mesh.devices.flat[0]
  memory = chips.memory_of(device)
  compiled, used = _compile(traced.lower())
  facts: dict[str, Any] = dict(temporaries=None, bytes_moved=None, collectives=[])
  if compiled is not None:
    analysis = compiled.memory_analysis()
    used = getattr(analysis, "peak_memory_in_bytes", 0) or (
      analysis.argument_size_in_bytes + analysis.temp_size_in_bytes
    )
    module = program.Program(compiled.as_text())
    facts = dict(
      temporaries=analysis.temp_size_in_bytes,
      bytes_moved=module.bytes_moved(),
      collectives=module.collectives(),
    )
  return Plan(
    title=title,
    devices=(mesh.size, device.device_kind),
    batch_size=parts.settings.batch_size,
    phase=phase,
    fits=None if memory is None else compiled is not None and used <= memory,
    memory=memory,
    peak=int(used),
    state=sum(map(_on_a_device, jax.tree.leaves(parts.state))),
    largest_split=max(
      (_whole(x) for x in jax.tree.leaves(parts.state) if _on_a_device(x) < _whole(x)), default=0
    ),
    batch=sum(map(_on_a_device, jax.tree.leaves(parts.batch))),
    operations=num_operations,
    seconds=_bounds(device.device_kind, num_operations / mesh.size, facts),
    compile_seconds=round(time.perf_counter() - began, 1),
    remedies=_remedies(config, mesh),
    **facts,
  )


def _compile(lowered: Any) -> tuple[Any, float]:
  """The compiled step, or None and the bytes that it needs where a device has not so many."""
  try:
    return lowered.compile(), 0
  except jax.errors.JaxRuntimeError as error:
    used = _USED.search(str(error))
    if not used:
      raise
    return None, float(used[1]) * _UNITS[used[2]]


def _whole(x: jax.ShapeDtypeStruct) -> int:
  """Bytes of an array."""
  return x.size * (x.dtype.itemsize if hasattr(x.dtype, "itemsize") else 8)


def _on_a_device(x: jax.ShapeDtypeStruct) -> int:
  """Bytes of an array on one device."""
  shape = x.sharding.shard_shape(x.shape) if x.sharding else x.shape
  return _whole(jax.ShapeDtypeStruct(shape, x.dtype))


def _bounds(device_kind: str, num_operations: float, facts: dict[str, Any]) -> dict[str, float]:
  """Seconds that a step takes at least, were each part of the chip always busy."""
  chip = chips.find(device_kind)
  if chip is None:
    return {}
  bounds = {"compute": num_operations / chip.flops}
  if facts["bytes_moved"] is not None:
    exchanged = sum(2 * item.num_bytes * item.times for item in facts["collectives"])
    bounds |= {
      "memory": facts["bytes_moved"] / chip.bandwidth,
      "network": exchanged / chip.network,
    }
  return {name: round(seconds, 6) for name, seconds in bounds.items()}


def _remedies(config: ConfigDict, mesh: Mesh) -> list[str]:
  """The settings of `REMEDIES` that the config does not have, as flags."""
  low = experiment.dtype_of(config.compute_dtype, mesh) == jnp.bfloat16
  absent = []
  for field, value in REMEDIES[low:]:
    group: Any = config
    for name in field.split("."):
      group = group.get(name) if hasattr(group, "get") else None
    if group != value:
      absent.append(f"--config.{field}={value}")
  return absent


def check_exchanges(plan: Plan) -> None:
  """Raises ValueError if a step gathers what grows with the number of pixels or devices.

  Sums over the batch (gradients, statistics, counts) do not grow. What a memory bank gathers is bounded by
  its rows; anything larger than `GATHERED` per device is pixels, unless it is no larger than the largest array
  of a network that is split (`config.fsdp`).
  """
  for item in plan.collectives:
    if item.kind != "all-reduce" and item.num_bytes > max(GATHERED, plan.largest_split):
      raise ValueError(
        f"{plan.title}: a step moves {item.num_bytes / 2**20:.1f} MiB between the devices in one "
        f"{item.kind}, which grows with the batch: {item.origin}."
      )


def fitted_batch(config: ConfigDict, mesh: Mesh) -> ConfigDict:
  """The config with at least one image of each domain per device.

  A recipe's batch is that of its paper; on more devices than it has images the batch grows with them.
  """
  if config.batch_size % mesh.size == 0:
    return config
  if config.batch_size > mesh.size:
    raise SettingError(
      ("config", "batch_size"),
      f"= {config.batch_size} cannot be split over {mesh.size} devices; use a multiple of {mesh.size}.",
    )
  grown = config.copy_and_resolve_references().unlock()
  grown.batch_size = mesh.size
  return grown.lock()
