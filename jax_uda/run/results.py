"""Scores and pictures of a trained state."""

import json
import pathlib
from typing import Any

import numpy as np

from jax_uda.common import files
from jax_uda.common import mesh as mesh_lib
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import batches
from jax_uda.run import evaluation, experiment, metrics
from jax_uda.run.report import pictures, table
from jax_uda.run.report.writer import MetricWriter
from jax_uda.step.state import TrainState

Counts = dict[str, dict[str, np.ndarray]]


def count(exp: experiment.Experiment, state: TrainState, domain: str) -> dict[str, np.ndarray]:
  """Confusion counts [C, C] of student and teacher on a set of `exp.validation`."""
  images = exp.validation[domain]
  predict = exp.predict if domain == "target" else exp.predict_elsewhere
  return {
    network: evaluation.confusion_of(
      predict,
      variables,
      batches.evaluation_batches(images, exp.config.eval.batch_size),
      exp.task.num_classes,
    )
    for network, variables in (("student", state.student), ("teacher", state.teacher))
  }


def report_midway(
  exp: experiment.Experiment, state: TrainState, writer: MetricWriter | None
) -> None:
  """Prints and logs the mIoU on the targets; for the eye, nothing is selected by it."""
  step = int(state.step)
  for domain in ("target", *exp.more_targets):
    means = {name: metrics.mean_iou(counts) for name, counts in count(exp, state, domain).items()}
    if writer:
      writer.write_scalars(step, {f"{domain}_miou/{name}": value for name, value in means.items()})
    text = ", ".join(f"{name} {100 * value:.1f}" for name, value in means.items())
    print(f"step {step}: mIoU on {domain}, %: {text}", flush=True)


def scores(counts: np.ndarray, label_space: LabelSpace) -> dict[str, Any]:
  """What `results.json` says of one network on one set: numbers in [0, 1], None where undefined.

  `subsets` are means over some classes; see `metrics.mean_iou` for how they are formed.
  """
  plain = lambda value: None if np.isnan(value) else round(float(value), 6)
  return {
    "miou": plain(metrics.mean_iou(counts)),
    "pixel_accuracy": plain(metrics.pixel_accuracy(counts)),
    "iou": dict(zip(label_space.names, map(plain, metrics.iou(counts)), strict=True)),
    "subsets": {
      name: plain(metrics.mean_iou(counts, subset)) for name, subset in label_space.subsets.items()
    },
  }


def write(
  exp: experiment.Experiment,
  state: TrainState,
  workdir: pathlib.Path,
  writer: MetricWriter | None = None,
) -> dict[str, Any]:
  """Evaluates both networks on all sets of `exp.validation`; writes `results.json` and pictures, prints a table.

  Args:
    exp: The run.
    state: Its state.
    workdir: Its folder.
    writer: Also gets the table and the pictures, if given.

  Returns:
    What is in `results.json`: `step`, and for each set, `student` and `teacher` the `scores`.
  """
  found: dict[str, Any] = {"step": int(state.step), "checkpoint": "last"}
  for domain in exp.validation:
    found[domain] = {
      network: scores(counts, exp.domains.label_space)
      for network, counts in count(exp, state, domain).items()
    }
  if mesh_lib.is_main_process():
    files.write_atomically(workdir / "results.json", json.dumps(found, indent=2))
  if mesh_lib.is_main_process():
    _show(exp, found, writer)
  pictures.end(exp, state, workdir, writer)
  return found


def _show(exp: experiment.Experiment, found: dict[str, Any], writer: MetricWriter | None) -> None:
  """Prints the table and hands it to the writer."""
  step, name = found["step"], exp.title
  columns = {
    f"{domain} {network}": found[domain][network]
    for domain in exp.validation
    for network in ("student", "teacher")
  }
  table.show(columns, title=f"{name} after {step} steps: IoU, %")
  if writer:
    writer.write_text(step, "iou", table.markdown(columns))
