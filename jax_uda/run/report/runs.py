"""The files of a finished run as numbers: its scores, its mIoU over steps, and its time."""

import dataclasses
import math
import pathlib
from typing import Any

from jax_uda.common import state_files
from jax_uda.run.report import metric_lines
from jax_uda.run.settings import NETWORKS

RESULTS = "results.json"


@dataclasses.dataclass(frozen=True)
class Run:
  """One finished run and its scores on the target, in [0, 1], NaN where undefined.

  Attributes:
    scores: The scores of `results.json` by network: `miou`, `iou` by class name, `subsets`.
    checkpoint: What `results.json` calls the checkpoint that these scores are of.
    steps: [K] steps at which the run was evaluated; the last one is its end.
    miou: [K] mIoU at these steps, by network; NaN where a network was not scored.
    seconds: [K] time of the training steps until each evaluation, without compilation and evaluation.
    start: The step from which the run started.
    before: Seconds of training steps in the stages before.
  """

  scores: dict[str, dict[str, Any]]
  steps: tuple[int, ...]
  miou: dict[str, tuple[float, ...]]
  seconds: tuple[float, ...]
  start: int
  before: float
  checkpoint: str = "last"

  @property
  def total_seconds(self) -> float:
    """Seconds of training steps in all stages."""
    return self.before + self.seconds[-1]

  @property
  def step_seconds(self) -> float:
    """Mean seconds of a training step."""
    return self.seconds[-1] / max(self.steps[-1] - self.start, 1)

  def within(self, seconds: float) -> int | None:
    """Index of the last evaluation until which all stages took no more than `seconds`, or None."""
    fit = [index for index, passed in enumerate(self.seconds) if self.before + passed <= seconds]
    return fit[-1] if fit else None


def read_results(folder: pathlib.Path) -> dict[str, Any]:
  """The content of `results.json`.

  Raises:
    state_files.DamagedFileError: The file is not what was written.
    OSError: There is no such file.
  """
  purpose = "it holds the scores of the run; remove it, and --mode=eval writes it again"
  return state_files.read_json(folder / RESULTS, dict, purpose)


def read(folder: pathlib.Path, *, images_per_step: int, start: int = 0, before: float = 0.0) -> Run:
  """Reads the run in `folder` from its `results.json` and `metrics.jsonl`.

  Args:
    folder: Folder of the run.
    images_per_step: Images of both domains in a step, as `images_per_second` counts them.
    start: The step from which the run started, if it continues another run.
    before: Seconds of training steps in the stages before.
  """
  results = read_results(folder)
  rows = sorted(metric_lines.read(folder).rows, key=lambda row: row["step"])
  last_results = results.get("last", results)  # beside the best, if that is reported
  steps, seconds = [], []
  curves = {network: [] for network in NETWORKS}
  passed, last = 0.0, start
  for row in rows:
    if row.get("images_per_second"):
      passed += (row["step"] - last) * images_per_step / row["images_per_second"]
      last = row["step"]
    if any(f"target_miou/{network}" in row for network in NETWORKS):
      steps.append(row["step"])
      seconds.append(passed)
      for network, curve in curves.items():
        curve.append(_number(row.get(f"target_miou/{network}")))
  scores = {network: _scores_of(results["target"], network) for network in NETWORKS}
  for network, curve in curves.items():
    curve.append(_scores_of(last_results["target"], network)["miou"])
  return Run(
    scores=scores,
    steps=(*steps, last_results["step"]),
    miou={network: tuple(curve) for network, curve in curves.items()},
    seconds=(*seconds, passed),
    start=start,
    before=before,
    checkpoint=results.get("checkpoint", "last"),
  )


def _number(value: float | None) -> float:
  return math.nan if value is None else value


def _scores_of(by_network: dict[str, Any], network: str) -> dict[str, Any]:
  """The scores of a network; all NaN if it was not scored (`config.eval.networks`)."""
  one = by_network.get(network)
  names = next(iter(by_network.values()))
  numbers = lambda key: {name: _number(one and one[key][name]) for name in names[key]}
  return {
    "miou": _number(one and one["miou"]),
    "iou": numbers("iou"),
    "subsets": numbers("subsets"),
  }
