"""Training steps of published recipes at published sizes, in bfloat16, from random weights and images."""

import time
from typing import Any

import jax
import measure
import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.run import config as config_lib
from jax_uda.run import recipes
from jax_uda.run.plan import chips, operations, shapes

# The recipe and settings that its encoder takes; the most valuable first.
RECIPES = {
  "daformer": ("gta_to_cityscapes/daformer", {}),
  "sepico": ("gta_to_cityscapes/sepico:network=daformer", {}),
  "mic": ("gta_to_cityscapes/mic", dict(remat=True)),
  "vfm_uda": ("gta_to_cityscapes/vfm_uda", dict(remat=True)),
  "cluda": ("gta_to_cityscapes/cluda", dict(remat=True)),
}
DRY = {"dacs": ("demo:method=dacs", {})}


def random_batch(batch: Any, num_classes: int) -> Any:
  """Random images and labels of these shapes."""
  rng = np.random.default_rng(0)
  draw = lambda spec: rng.integers(0, num_classes if spec.ndim == 3 else 256, spec.shape, np.uint8)
  batch = jax.tree.map(draw, batch)
  if "valid" in batch["target"]:
    batch["target"]["valid"] = np.ones_like(batch["target"]["valid"])
  return batch


def figures_of(recipe: str, encoder_options: dict[str, Any], dry: bool) -> dict[str, Any]:
  """Compiles a recipe's last step and times it."""
  config = recipes.load(recipe)
  stages = config_lib.stage_configs(config)
  config = (list(stages.values())[-1] if stages else config).copy_and_resolve_references().unlock()
  config.compute_dtype = "bfloat16"
  if encoder_options:
    config.model.encoder_options = encoder_options
  mesh = mesh_lib.data_mesh(1)
  parts = shapes.of_config(config, mesh)
  learner, end = parts.learner, parts.settings.end_step
  phase = learner.method.phase(end - 1)
  began = time.perf_counter()
  traced = learner.step_of(phase).trace(parts.state, parts.batch)
  step = traced.lower().compile()
  compiled = time.perf_counter() - began
  state = learner.init(0, parts.settings.data.batches.crop_size)
  # A run is at its last phase when all memories are full of something.
  state = state.replace(step=state.step + phase)
  batch = mesh_lib.put_batch(mesh, random_batch(parts.batch, 19 if not dry else 5))

  def run() -> None:
    nonlocal state
    state, metrics = step(state, batch)
    jax.block_until_ready(metrics)

  seconds = measure.median_seconds(run, warm_up=2, repeats=2 if dry else 10)
  device = jax.devices()[0]
  chip = chips.find(device.device_kind)
  flops = operations.count(traced.jaxpr) / seconds
  return {
    "device": device.device_kind,
    "batch": config.batch_size,
    "compile_seconds": round(compiled, 1),
    "step_seconds": round(seconds, 4),
    "images_per_second": round(2 * config.batch_size / seconds, 2),
    "tflops": round(flops / 1e12, 1),
    "share_of_peak": round(flops / chip.flops, 3) if chip else None,
    "temporaries_gib": round(step.memory_analysis().temp_size_in_bytes / 2**30, 2),
    "peak_gib": round((device.memory_stats() or {}).get("peak_bytes_in_use", 0) / 2**30, 2),
  }


if __name__ == "__main__":
  args = measure.arguments(__doc__)
  results = measure.Results(args.results)
  for name, (recipe, options) in (DRY if args.dry else RECIPES).items():
    results.attempt(name, lambda: figures_of(recipe, options, args.dry))  # noqa: B023
