"""The scores of a run: those on the way and those of `results.json`."""

import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files
from jax_uda.common.log import say
from jax_uda.run import best_checkpoint, evaluation, metrics
from jax_uda.run.experiment import Experiment
from jax_uda.run.image_progress import Progress
from jax_uda.run.label_size import LabelsAt
from jax_uda.run.report import confusion, table
from jax_uda.run.report.runs import RESULTS as FILE
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
  settings, examples = exp.settings.evaluation, exp.validation_sets[name]
  everywhere = isinstance(settings.label_size, int) and name != "source"
  if settings.label_size and (name == "target" or everywhere):
    examples = LabelsAt(examples, settings.label_size)
  return {
    network: evaluation.confusion_of(
      exp.learner,
      state.variables(network),
      examples,
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


def report_midway(
  exp: Experiment, state: TrainState, writer: MetricWriter | None, workdir: pathlib.Path
) -> None:
  """Prints and logs the mIoU on the target's sets.

  Nothing is selected by these scores unless the config asks for the oracle: then the best state is kept.
  """
  step, networks = int(state.step), exp.settings.evaluation.midway_networks
  for name, by_network in _count_all(exp, state, list(exp.target_sets), networks).items():
    mean = functools.partial(
      metrics.mean_iou, absent_as_zero=exp.settings.evaluation.absent_as_zero
    )
    means = {network: mean(counts) for network, counts in by_network.items()}
    if name == "target" and exp.settings.report == best_checkpoint.BEST:
      best_checkpoint.keep(workdir, state, means)  # before the row that says that this was done
    if writer:
      scalars = {f"{name}_miou/{network}": value for network, value in means.items()}
      writer.write_scalars(step, scalars)
    text = ", ".join(f"{network} {100 * value:.1f}" for network, value in means.items())
    say(f"step {step}: mIoU on {name}, %: {text}")


def write(
  exp: Experiment,
  state: TrainState,
  workdir: pathlib.Path,
  writer: MetricWriter | None = None,
  *,
  at_end: bool = False,
) -> dict[str, Any]:
  """Evaluates networks on validation sets; writes `results.json` and prints a table.

  `config.eval.networks` says which networks, `config.eval.source` whether the source's set is among them.

  Args:
    exp: The run.
    state: Its last state.
    workdir: Its folder.
    writer: Receives the table too.
    at_end: Whether a training has just ended here, so that this state may be its best.

  Returns:
    The content of `results.json`: `step`, `checkpoint`, and by set and network (`student`, `teacher`)
    the `evaluation.scores` of the checkpoint that is reported. If that is the best one, the same of the last
    one is in `last`. `label_size` is there if labels were resized, `absent_classes` if they count as 0.
  """
  title = exp.settings.title
  last = {"step": int(state.step), "checkpoint": best_checkpoint.TITLES["last"]}
  confusions: dict[str, np.ndarray] = {}  # of the state that was scored last, the reported one
  last |= _scores(exp, state, confusions)
  results = last
  if exp.settings.report == best_checkpoint.BEST:
    network = exp.settings.evaluation.midway_networks[0]  # the one that was compared on the way
    if at_end and network in last["target"]:
      best_checkpoint.keep(workdir, state, {network: last["target"][network]["miou"]})
    results = best_checkpoint.reported(
      last, state, workdir, lambda state: _scores(exp, state, confusions)
    )
  if mesh_lib.is_main_process():
    state_files.write_json(workdir / FILE, results)
    confusion.write(workdir, confusions)
    _show(exp, last, title, writer, "iou")
    if results is not last:
      _show(exp, results, f"{title}, {results['checkpoint']}", writer, "iou_best_on_target")
  return results


def _scores(
  exp: Experiment, state: TrainState, confusions: dict[str, np.ndarray]
) -> dict[str, Any]:
  """The scores of a state by set and network, and the size of the labels if it was set.

  Args:
    exp: The run.
    state: The state.
    confusions: Receives the counts [C, C], by "set/network".
  """
  size = exp.settings.evaluation.label_size
  absent = exp.settings.evaluation.absent_as_zero
  shown = ["short", size] if isinstance(size, int) else list(size or ())
  scores: dict[str, Any] = {"label_size": shown} if size else {}
  if absent:
    scores["absent_classes"] = "zero"
  networks = exp.settings.evaluation.networks
  for name, by_network in _count_all(exp, state, list(exp.evaluated_sets), networks).items():
    confusions |= {f"{name}/{network}": counts for network, counts in by_network.items()}
    scores[name] = {
      network: evaluation.scores(counts, exp.domains.label_space, absent_as_zero=absent)
      for network, counts in by_network.items()
    }
  return scores


def _show(
  exp: Experiment, results: dict[str, Any], title: str, writer: MetricWriter | None, tag: str
) -> None:
  """Prints the table of one checkpoint."""
  columns = {
    f"{name} {network}": results[name][network]
    for name in exp.evaluated_sets
    for network in exp.settings.evaluation.networks
  }
  table.show(columns, title=f"{title} after {results['step']} steps: IoU, %")
  if writer:
    writer.write_text(results["step"], tag, table.markdown(columns))
