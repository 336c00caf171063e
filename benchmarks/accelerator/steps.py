"""Training steps of published recipes at published sizes, in bfloat16, from random weights and images.

Rows that begin with `dacs` are the source, teacher and mixed pass alone, as in torch_steps.py.
"""

import contextlib
import dataclasses
import pathlib
import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import measure
import numpy as np
import profile_step

from jax_uda.common import mesh as mesh_lib
from jax_uda.models.layers import attention
from jax_uda.run import config as config_lib
from jax_uda.run import recipes
from jax_uda.run.plan import chips, operations, shapes


@dataclasses.dataclass(frozen=True)
class Row:
  """What is measured.

  Attributes:
    recipe: A recipe with its arguments.
    encoder: Options of the encoder.
    fields: Other fields of the config.
    fused: Whether attention is cuDNN's kernel.
  """

  recipe: str
  encoder: dict[str, Any] = dataclasses.field(default_factory=dict)
  fields: dict[str, Any] = dataclasses.field(default_factory=dict)
  fused: bool = True


VIT_LARGE = "gta_to_cityscapes/vfm_uda:encoder=dinov2_vitl14"
PLAIN_VIT = dict(method=dict(name="dacs"), batch_size=2)
ROWS = {  # the most valuable first
  "daformer": Row("gta_to_cityscapes/daformer"),
  "dacs_segformer": Row("gta_to_cityscapes/dacs:network=segformer"),
  "dacs_vit_large": Row(VIT_LARGE, dict(remat=False), PLAIN_VIT),
  "mic": Row("gta_to_cityscapes/mic", dict(remat=True)),
  "vfm_uda_large": Row(VIT_LARGE, dict(remat=True)),
  "sepico": Row("gta_to_cityscapes/sepico:network=daformer"),
  "cluda": Row("gta_to_cityscapes/cluda", dict(remat=True)),
  "daformer_shift": Row("gta_to_cityscapes/daformer", dict(depthwise="shift")),
  "daformer_unrolled": Row("gta_to_cityscapes/daformer", dict(scan_blocks=False)),
  "daformer_plain": Row("gta_to_cityscapes/daformer", fused=False),
}
DRY = {"dacs": Row("demo:method=dacs")}


def random_batch(batch: Any, num_classes: int) -> Any:
  """Random images and labels of these shapes."""
  rng = np.random.default_rng(0)
  draw = lambda spec: rng.integers(0, num_classes if spec.ndim == 3 else 256, spec.shape, np.uint8)
  batch = jax.tree.map(draw, batch)
  if "valid" in batch["target"]:
    batch["target"]["valid"] = np.ones_like(batch["target"]["valid"])
  return batch


def config_of(row: Row) -> Any:
  """The config of the recipe's last stage."""
  config = recipes.load(row.recipe)
  stages = config_lib.stage_configs(config)
  config = (list(stages.values())[-1] if stages else config).copy_and_resolve_references().unlock()
  config.compute_dtype = "bfloat16"
  for name, value in row.fields.items():
    config[name] = value
  if row.encoder:
    config.model.encoder_options = row.encoder
  return config


def prepare(row: Row, dry: bool) -> tuple[Callable[[], None], dict[str, Any]]:
  """Compiles a step; a function that runs it, and the figures so far."""
  config = config_of(row)
  mesh = mesh_lib.data_mesh(1)
  parts = shapes.of_config(config, mesh)
  learner, end = parts.learner, parts.settings.end_step
  phase = learner.method.phase(end - 1)
  began = time.perf_counter()
  traced = learner.step_of(phase).trace(parts.state, parts.batch)
  lowered = traced.lower()
  traced_after = time.perf_counter() - began
  step = lowered.compile()
  compiled_after = time.perf_counter() - began
  state = learner.init(0, parts.settings.data.batches.crop_size)
  # A run is at its last phase when all memories are full of something.
  state = state.replace(step=state.step + phase)
  batch = mesh_lib.put_batch(mesh, random_batch(parts.batch, 19 if not dry else 5))

  def run() -> None:
    nonlocal state
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)

  figures = {
    "device": jax.devices()[0].device_kind,
    "jax": jax.__version__,
    "batch": config.batch_size,
    "trace_seconds": round(traced_after, 1),
    "compile_seconds": round(compiled_after - traced_after, 1),
    "temporaries_gib": round(step.memory_analysis().temp_size_in_bytes / 2**30, 2),
    "operations": operations.count(traced.jaxpr),
  }
  return run, figures


def figures_of(name: str, row: Row, folder: pathlib.Path, dry: bool) -> dict[str, Any]:
  """Compiles a recipe's last step, waits for its turn and times it."""
  plain = mock.patch.object(attention, "_fuses", lambda *_: False)
  with contextlib.nullcontext() if row.fused else plain:
    run, figures = prepare(row, dry)
  measure.wait_for_turn()
  seconds = measure.seconds_of(run, dry=dry)
  device = jax.devices()[0]
  chip = chips.find(device.device_kind)
  rate = figures.pop("operations") / seconds
  figures |= {
    "step_seconds": round(seconds, 4),
    "images_per_second": round(2 * figures["batch"] / seconds, 2),
    "tflops": round(rate / 1e12, 1),
    "share_of_peak": round(rate / chip.flops, 3) if chip else None,
    "peak_gib": round((device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30, 2),
  }
  kernels = measure.Results(str(folder / f"{name}.kernels.json"))
  kernels.attempt("kernels", lambda: profile_step.slowest(run, seconds))
  return figures


if __name__ == "__main__":
  args = measure.arguments(__doc__)
  results = measure.Results(args.results)
  rows = DRY if args.dry else ROWS
  for name in [args.only] if args.only else rows:
    folder = pathlib.Path(args.results).parent
    results.attempt(name, lambda: figures_of(name, rows[name], folder, args.dry))  # noqa: B023
