"""Scores and pictures of a trained state."""

import json
import pathlib
from typing import Any

import jax
import numpy as np

from jax_uda import evaluate, experiment, metrics, record, train_step
from jax_uda.context import Passes, View
from jax_uda.data import pipeline
from jax_uda.report import panels, table
from jax_uda.report.writer import MetricWriter
from jax_uda.state import TrainState

Counts = dict[str, dict[str, np.ndarray]]


def count(exp: experiment.Experiment, state: TrainState, domain: str) -> dict[str, np.ndarray]:
  """Confusion counts [C, C] of student and teacher on the validation images of `domain`."""
  images = {"source": exp.domains.source_val, "target": exp.domains.target_val}[domain]
  return {
    network: evaluate.confusion_of(
      exp.predict,
      variables,
      pipeline.evaluation_batches(images, exp.config.eval.batch_size),
      exp.task.num_classes,
    )
    for network, variables in (("student", state.student), ("teacher", state.teacher))
  }


def report_midway(exp: experiment.Experiment, state: TrainState, writer: MetricWriter) -> None:
  """Prints and logs the mIoU on the target; for the eye, nothing is selected by it."""
  scores = {name: metrics.mean_iou(counts) for name, counts in count(exp, state, "target").items()}
  step = int(state.step)
  writer.write_scalars(step, {f"target_miou/{name}": value for name, value in scores.items()})
  text = ", ".join(f"{name} {100 * value:.1f}" for name, value in scores.items())
  print(f"step {step}: mIoU on target, %: {text}", flush=True)


def _json_scores(counts: np.ndarray, names: tuple[str, ...]) -> dict[str, Any]:
  plain = lambda value: None if np.isnan(value) else round(float(value), 6)
  return {
    "miou": plain(metrics.mean_iou(counts)),
    "pixel_accuracy": plain(metrics.pixel_accuracy(counts)),
    "iou": dict(zip(names, map(plain, metrics.iou(counts)), strict=True)),
  }


def write(exp: experiment.Experiment, state: TrainState, workdir: pathlib.Path) -> dict[str, Any]:
  """Evaluates both networks on both domains; writes `results.json` and `panels.png`, prints a table.

  Returns:
    What is in `results.json`: `step`, and for `target` and `source`, `student` and `teacher` the
    scores in [0, 1], None where undefined.
  """
  names = exp.domains.label_space.names
  found: dict[str, Any] = {"step": int(state.step), "checkpoint": "last"}
  for domain in ("target", "source"):
    found[domain] = {
      network: _json_scores(counts, names) for network, counts in count(exp, state, domain).items()
    }
  record.write_atomically(workdir / "results.json", json.dumps(found, indent=2))
  columns = {
    f"{domain} {network}": found[domain][network]["iou"]
    for domain in ("target", "source")
    for network in ("student", "teacher")
  }
  table.show(columns, title=f"{exp.config.method.name} after {found['step']} steps: IoU, %")
  try:
    draw_panels(exp, state, workdir / "panels.png")
    print(f"pictures: {workdir / 'panels.png'}")
  except ImportError as error:
    print(f"no pictures: {error}")
  return found


def _pick(images: Any, number: int) -> list[dict[str, np.ndarray]]:
  """`number` examples spread over the set."""
  return [images[int(i)] for i in np.linspace(0, len(images) - 1, number).round()]


def _views(exp: experiment.Experiment, state: TrainState, batch: Any) -> dict[str, View]:
  """The method's views of `batch`, as a training step would build them."""

  @jax.jit
  def views_of(teacher, key, batch):
    passes = Passes(train_step.teacher_pass(exp.model), teacher)
    return exp.method.views(exp.method.draw(key, batch), batch, passes)

  return jax.device_get(views_of(state.teacher, jax.random.fold_in(state.key, state.step), batch))


def draw_panels(exp: experiment.Experiment, state: TrainState, path: pathlib.Path) -> None:
  """Draws, for some validation images: the method's views, pseudo-labels, prediction and truth.

  Raises:
    ImportError: matplotlib is not installed.
  """
  number = min(exp.config.panel_images, len(exp.domains.source_val), len(exp.domains.target_val))
  if not number:
    return
  source, target = _pick(exp.domains.source_val, number), _pick(exp.domains.target_val, number)
  stack = lambda rows, name: np.stack([row[name] for row in rows])
  batch = {
    "source": {"image": stack(source, "image"), "label": stack(source, "label")},
    "target": {"image": stack(target, "image")},
  }
  views = _views(exp, state, batch)
  mean, std = np.array(exp.task.image_mean), np.array(exp.task.image_std)
  picture = lambda view: np.clip(view.image * std + mean, 0, 255).astype(np.uint8)
  columns = {"source": picture(views["source"]), "target": batch["target"]["image"]}
  for name, view in views.items():
    if name not in columns:
      columns[name] = picture(view)
      columns[f"{name}: label"] = view.label
      columns[f"{name}: weight"] = view.weight
  if "target" in views:
    columns["pseudo-label"] = views["target"].label
  for name, variables in (("student", state.student), ("teacher", state.teacher)):
    size = target[0]["label"].shape
    columns[f"{name}'s prediction"] = exp.predict(variables, batch["target"]["image"], size)
  columns["ground truth"] = stack(target, "label")
  title = f"{exp.config.method.name}, step {int(state.step)}"
  panels.draw(path, columns, exp.domains.label_space, title=title)
