"""The files of a finished run as numbers: its scores, its mIoU over steps, and its time."""

import dataclasses
import json
import math
import pathlib
from typing import Any

NETWORKS = ("student", "teacher")


@dataclasses.dataclass(frozen=True)
class Run:
  """One finished run, on the target alone. Scores are in [0, 1], NaN where undefined.

  Attributes:
    scores: By network, what `results.json` says: `miou`, `iou` by class name, `subsets`.
    steps: [K] steps at which it was evaluated; the last one is the end.
    miou: By network, [K] mIoU at these.
    seconds: [K] time of the training steps until then, without compilation and evaluation.
    start: The step it started from.
    before: Time of the training steps of the stages before it.
  """

  scores: dict[str, dict[str, Any]]
  steps: tuple[int, ...]
  miou: dict[str, tuple[float, ...]]
  seconds: tuple[float, ...]
  start: int
  before: float

  @property
  def total_seconds(self) -> float:
    """Time of the training steps of all stages."""
    return self.before + self.seconds[-1]

  @property
  def step_seconds(self) -> float:
    """Mean time of a training step."""
    return self.seconds[-1] / max(self.steps[-1] - self.start, 1)

  def within(self, seconds: float) -> int | None:
    """The last evaluation, an index, until which all stages took no more than `seconds`."""
    fit = [index for index, passed in enumerate(self.seconds) if self.before + passed <= seconds]
    return fit[-1] if fit else None


def read(folder: pathlib.Path, *, images_per_step: int, start: int = 0, before: float = 0.0) -> Run:
  """The run in `folder`, which has a `results.json` and a `metrics.jsonl`.

  Args:
    folder: Of the run.
    images_per_step: Of both domains together, as `images_per_second` counts them.
    start: The step it started from, if it continues another run.
    before: Time of the training steps of the stages before it.
  """
  results = json.loads((folder / "results.json").read_text())
  lines = (folder / "metrics.jsonl").read_text().splitlines()
  rows = sorted(map(json.loads, lines), key=lambda row: row["step"])
  steps, seconds = [], []
  curves = {network: [] for network in NETWORKS}
  passed, last = 0.0, start
  for row in rows:
    if row.get("images_per_second"):
      passed += (row["step"] - last) * images_per_step / row["images_per_second"]
      last = row["step"]
    if "target_miou/student" in row:
      steps.append(row["step"])
      seconds.append(passed)
      for network, curve in curves.items():
        curve.append(_number(row[f"target_miou/{network}"]))
  for network, curve in curves.items():
    curve.append(_number(results["target"][network]["miou"]))
  return Run(
    scores={network: _plain(results["target"][network]) for network in NETWORKS},
    steps=(*steps, results["step"]),
    miou={network: tuple(curve) for network, curve in curves.items()},
    seconds=(*seconds, passed),
    start=start,
    before=before,
  )


def _number(value: float | None) -> float:
  return math.nan if value is None else value


def _plain(scores: dict[str, Any]) -> dict[str, Any]:
  numbers = lambda values: {name: _number(value) for name, value in values.items()}
  return {
    "miou": _number(scores["miou"]),
    "iou": numbers(scores["iou"]),
    "subsets": numbers(scores["subsets"]),
  }
