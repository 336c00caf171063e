"""The scores of a run: those on the way and those of `results.json`."""

import json
import pathlib
from typing import Any

import numpy as np

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.run import evaluation, metrics
from jax_uda.run.experiment import Experiment
from jax_uda.run.report import table
from jax_uda.run.report.runs import NETWORKS
from jax_uda.run.report.writer import MetricWriter
from jax_uda.step.state import TrainState


def count(exp: Experiment, state: TrainState, name: str) -> dict[str, np.ndarray]:
  """Confusion counts [C, C] of student and teacher on the validation set `name`."""
  settings = exp.settings.evaluation
  return {
    network: evaluation.confusion_of(
      exp.learner,
      state.variables(network),
      exp.validation_sets[name],
      exp.domains.label_space.num_classes,
      inference=settings.inference_on(name),
      batch_size=settings.batch_size,
    )
    for network in NETWORKS
  }


def report_midway(exp: Experiment, state: TrainState, writer: MetricWriter | None) -> None:
  """Prints and logs the mIoU on the target's sets. Nothing is selected by these scores."""
  step = int(state.step)
  for name in exp.target_sets:
    means = {
      network: metrics.mean_iou(counts) for network, counts in count(exp, state, name).items()
    }
    if writer:
      scalars = {f"{name}_miou/{network}": value for network, value in means.items()}
      writer.write_scalars(step, scalars)
    text = ", ".join(f"{network} {100 * value:.1f}" for network, value in means.items())
    say(f"step {step}: mIoU on {name}, %: {text}")


def write(
  exp: Experiment, state: TrainState, workdir: pathlib.Path, writer: MetricWriter | None = None
) -> dict[str, Any]:
  """Evaluates both networks on all validation sets; writes `results.json` and prints a table.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    writer: Receives the table too.

  Returns:
    The content of `results.json`: `step`, `checkpoint`, and by set and network (`student`, `teacher`)
    the `evaluation.scores`.
  """
  results: dict[str, Any] = {"step": int(state.step), "checkpoint": "last"}
  for name in exp.validation_sets:
    results[name] = {
      network: evaluation.scores(counts, exp.domains.label_space)
      for network, counts in count(exp, state, name).items()
    }
  if mesh_lib.is_main_process():
    files.write_atomically(workdir / "results.json", json.dumps(results, indent=2))
    columns = {
      f"{name} {network}": results[name][network]
      for name in exp.validation_sets
      for network in NETWORKS
    }
    table.show(columns, title=f"{exp.settings.title} after {results['step']} steps: IoU, %")
    if writer:
      writer.write_text(results["step"], "iou", table.markdown(columns))
  return results
