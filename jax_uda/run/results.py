"""The scores of a run: those on the way and those of `results.json`."""

import json
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.run import evaluation, metrics
from jax_uda.run.experiment import Experiment
from jax_uda.run.image_progress import Progress
from jax_uda.run.report import table
from jax_uda.run.report.writer import MetricWriter
from jax_uda.run.settings import NETWORKS
from jax_uda.step.state import TrainState


def count(
  exp: Experiment,
  state: TrainState,
  name: str,
  networks: Sequence[str] = NETWORKS,
  progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
  """Confusion counts [C, C] of networks on the validation set `name`.

  Args:
    exp: The run.
    state: Its state.
    name: The set.
    networks: "student" or "teacher" or both.
    progress: Called with the number of images after each batch.
  """
  settings = exp.settings.evaluation
  return {
    network: evaluation.confusion_of(
      exp.learner,
      getattr(state, network),
      exp.validation_sets[name],
      exp.domains.label_space.num_classes,
      inference=settings.inference_on(name),
      batch_size=settings.batch_size,
      progress=progress,
    )
    for network in networks
  }


def _count_all(
  exp: Experiment, state: TrainState, names: Sequence[str], networks: Sequence[str]
) -> dict[str, dict[str, np.ndarray]]:
  """`count` of several sets, with one progress bar."""
  total = len(networks) * sum(len(exp.validation_sets[name]) for name in names)
  with Progress(total, f"evaluation of {' and '.join(networks)}") as progress:
    return {name: count(exp, state, name, networks, progress.add) for name in names}


def report_midway(exp: Experiment, state: TrainState, writer: MetricWriter | None) -> None:
  """Prints and logs the mIoU on the target's sets. Nothing is selected by these scores."""
  step, networks = int(state.step), exp.settings.evaluation.midway_networks
  for name, by_network in _count_all(exp, state, list(exp.target_sets), networks).items():
    means = {network: metrics.mean_iou(counts) for network, counts in by_network.items()}
    if writer:
      scalars = {f"{name}_miou/{network}": value for network, value in means.items()}
      writer.write_scalars(step, scalars)
    text = ", ".join(f"{network} {100 * value:.1f}" for network, value in means.items())
    say(f"step {step}: mIoU on {name}, %: {text}")


def write(
  exp: Experiment, state: TrainState, workdir: pathlib.Path, writer: MetricWriter | None = None
) -> dict[str, Any]:
  """Evaluates networks on validation sets; writes `results.json` and prints a table.

  `config.eval.networks` says which networks, `config.eval.source` whether the source's set is among them.

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
  networks = exp.settings.evaluation.networks
  for name, by_network in _count_all(exp, state, list(exp.evaluated_sets), networks).items():
    results[name] = {
      network: evaluation.scores(counts, exp.domains.label_space)
      for network, counts in by_network.items()
    }
  if mesh_lib.is_main_process():
    files.write_atomically(workdir / "results.json", json.dumps(results, indent=2))
    columns = {
      f"{name} {network}": results[name][network]
      for name in exp.evaluated_sets
      for network in networks
    }
    table.show(columns, title=f"{exp.settings.title} after {results['step']} steps: IoU, %")
    if writer:
      writer.write_text(results["step"], "iou", table.markdown(columns))
  return results
