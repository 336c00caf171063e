"""What the page shows of a run or of a recipe's stages, read from their folders."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jax_uda.common import state_files
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.run import classes_file, config_diff, record, same_inputs, saved_config
from jax_uda.run import config as config_lib
from jax_uda.run.report import confusion, examples, metric_lines
from jax_uda.run.report import runs as run_files
from jax_uda.run.report.examples import Example

PICTURES = {  # file -> its heading
  "panels.png": "What the method made of some images",
  "views.png": "What a training step looks at",
  "projection.png": "Embeddings of pixels, before and after training",
  "prototypes.png": "Similarities of the class prototypes",
}


@dataclasses.dataclass(frozen=True)
class RunContent:
  """One run.

  Attributes:
    name: Name of its folder.
    folder: Its folder.
    config: Its resolved config.
    results: The content of `results.json`; empty while the run goes on.
    rows: The rows of `metrics.jsonl`, by step.
    versions: Versions of the packages, and devices.
    weights: The weight file that the networks started from; empty: none.
    confusion: [C,C] pixel counts by "set/network"; rows are labels.
    examples: Some validation images of the target with labels and predictions.
    pictures: The figures that are there, with their headings.
  """

  name: str
  folder: pathlib.Path
  config: dict[str, Any]
  results: dict[str, Any]
  rows: list[dict[str, Any]]
  versions: dict[str, Any]
  weights: dict[str, Any]
  confusion: dict[str, np.ndarray]
  examples: list[Example]
  pictures: dict[pathlib.Path, str]

  @property
  def network(self) -> str:
    """The network whose scores lead: the student, or the only one that was evaluated."""
    networks = self.results.get("target", {})
    return "student" if "student" in networks or not networks else next(iter(networks))

  def scores(self, name: str = "target") -> dict[str, Any]:
    """The scores of the leading network on a set; empty if it was not evaluated there."""
    return self.results.get(name, {}).get(self.network, {})

  @property
  def curves(self) -> dict[str, tuple[list[int], list[float]]]:
    """Steps and values of each logged number."""
    names = dict.fromkeys(name for row in self.rows for name in row if name != "step")
    return {
      name: ([row["step"] for row in rows], [row[name] for row in rows])
      for name in names
      for rows in [[row for row in self.rows if row.get(name) is not None]]
    }

  @property
  def hours(self) -> float:
    """Hours in training steps, without compilation and evaluation."""
    images = 2 * self.config.get("batch_size", 1)
    seconds, last = 0.0, self.rows[0]["step"] if self.rows else 0
    for row in self.rows:
      if row.get("images_per_second"):
        seconds += (row["step"] - last) * images / row["images_per_second"]
        last = row["step"]
    return seconds / 3600


@dataclasses.dataclass(frozen=True)
class Content:
  """What a page shows.

  Attributes:
    title: Its heading.
    runs: The runs, in order.
    before: The run that `after` is compared with; None if there is none.
    after: The run that the page is about.
    label_space: The classes.
  """

  title: str
  runs: list[RunContent]
  before: RunContent | None
  after: RunContent
  label_space: LabelSpace

  @property
  def changed(self) -> list[tuple[str, str]]:
    """The fields that differ from the defaults, with their values."""
    defaults = config_diff.flatten(config_diff.to_plain(config_lib.default()))
    fields = config_diff.flatten(self.after.config)
    plain = lambda value: json.dumps(value)
    return [
      (name, plain(value))
      for name, value in fields.items()
      if plain(defaults.get(name)) != plain(value) and not name.startswith("stages.")
    ]

  @property
  def gains(self) -> dict[str, tuple[float | None, float | None]]:
    """IoU by class, before and after."""
    after = self.after.scores().get("iou", {})
    before = self.before.scores().get("iou", {}) if self.before else {}
    return {name: (before.get(name), value) for name, value in after.items()}


def _versions(folder: pathlib.Path) -> dict[str, Any]:
  """The versions with which the run was started; empty if it has not noted them."""
  path = folder / record.VERSIONS
  purpose = "it notes the versions of the packages for the report; remove it, and the next start of that run notes those of then"
  return state_files.read_json(path, dict, purpose) if path.is_file() else {}


def read_run(folder: pathlib.Path) -> RunContent:
  """Reads a run's folder; the run may still go on."""
  return RunContent(
    name=folder.name,
    folder=folder,
    config=record.read_config(folder) if (folder / saved_config.CONFIG).is_file() else {},
    results=run_files.read_results(folder) if (folder / run_files.RESULTS).is_file() else {},
    rows=sorted(metric_lines.read(folder).rows, key=lambda row: row["step"]),
    versions=_versions(folder),
    weights=same_inputs.read_weights(folder),
    confusion=confusion.read(folder),
    examples=examples.read(folder),
    pictures={folder / name: text for name, text in PICTURES.items() if (folder / name).is_file()},
  )


def read(workdir: pathlib.Path, *, compared: Sequence[str] = ()) -> Content:
  """Reads a run, or the stages of a recipe below a folder.

  Args:
    workdir: Folder of the run or of the stages' folders.
    compared: The stages that the recipe compares: the first is "before", the last "after". Empty: the
      run that was trained last, and the one that it started from.

  Raises:
    ValueError: There is no run.
  """
  is_run = lambda folder: (folder / "config.json").is_file()
  folders = [workdir] if is_run(workdir) else sorted(filter(is_run, workdir.glob("*")))
  if not folders:
    raise ValueError(f"no run in {workdir}; train there first, or correct the folder.")
  folders.sort(key=lambda folder: (folder / "config.json").stat().st_mtime)
  runs = {folder.name: read_run(folder) for folder in folders}
  names = [name for name in compared if name in runs]
  after = runs[names[-1] if names else list(runs)[-1]]
  before = _before(after, runs, names)
  classes = classes_file.read(after.folder)
  if classes is None:
    raise ValueError(
      f"{after.folder} has no {classes_file.FILE}: it was written by an earlier version."
    )
  return Content(workdir.name, list(runs.values()), before, after, classes.label_space)


def _before(
  after: RunContent, runs: Mapping[str, RunContent], compared: Sequence[str]
) -> RunContent | None:
  if len(compared) > 1:
    return runs[compared[0]]
  name = pathlib.Path(after.config.get("init_from") or "").name
  if name in runs:
    return runs[name]
  beside = after.folder.parent / name
  return read_run(beside) if name and (beside / "results.json").is_file() else None
