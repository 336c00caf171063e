"""Writes the page."""

import importlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_uda.common import files
from jax_uda.common.log import say
from jax_uda.run import metrics
from jax_uda.run.report import before_after
from jax_uda.run.report.page import charts, content, pictures
from jax_uda.run.report.page.content import Content, RunContent

FILE = "report.html"
HERE = pathlib.Path(__file__).parent
REFRESH_SECONDS = 20


class Comparison(NamedTuple):
  """A row of before | after | truth.

  Attributes:
    name: File name of the image.
    image: The image.
    before: The prediction before, over the image; empty if there is none.
    after: The prediction after.
    truth: The ground truth.
    errors_before: Where the prediction before is wrong; empty if there is none.
    errors_after: Where the prediction after is wrong.
    wrong: Shares of wrong pixels before and after, in per cent; NaN where unknown.
  """

  name: str
  image: str
  before: str
  after: str
  truth: str
  errors_before: str
  errors_after: str
  wrong: tuple[float, float]


def write(
  workdir: pathlib.Path, *, compared: Sequence[str] = (), command: str = "", watched: bool = False
) -> pathlib.Path:
  """Writes `report.html` of a run or of a recipe's stages, and `before_after.png` of two that are compared.

  Args:
    workdir: Folder of the run or of the stages' folders; the page goes there.
    compared: The stages to compare, as in `content.read`.
    command: The command that repeats the run, to be shown.
    watched: Whether the page loads itself again every `REFRESH_SECONDS` seconds.

  Returns:
    The page.

  Raises:
    ImportError: Plotly or Jinja is not installed.
    ValueError: There is no run in the folder.
  """
  shown = content.read(workdir, compared=compared)
  path = workdir / FILE
  files.write_atomically(path, _page(shown, command=command, watched=watched))
  before_after.draw(workdir, shown)
  say(f"report: {path}")
  return path


def _page(shown: Content, *, command: str, watched: bool) -> str:
  try:
    jinja2 = importlib.import_module("jinja2")
  except ImportError:
    raise ImportError('the report needs jinja2: pip install "jax-uda[viz]"') from None
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined
  )
  environment.filters["percent"] = lambda value: "–" if value is None else f"{100 * value:.1f}"
  after = shown.after
  counts = after.confusion.get(f"target/{after.network}")
  return environment.get_template("template.html").render(
    shown=shown,
    after=after,
    summary=summary(shown),
    comparisons=comparisons(shown),
    legend=list(
      zip(shown.label_space.names, map(tuple, shown.label_space.palette.tolist()), strict=True)
    ),
    iou_chart=charts.iou_bars(shown) if after.scores() else "",
    confusion_chart="" if counts is None else charts.confusion(counts, shown.label_space.names),
    class_table=[] if counts is None else class_table(counts, shown.label_space.names),
    sets=_sets(after),
    curves={run.name: charts.curves(run) for run in shown.runs if run.rows},
    figures=[
      (run.name, text, pictures.of_file(path))
      for run in shown.runs
      for path, text in run.pictures.items()
      if run is after
    ],
    config=json.dumps(after.config, indent=2),
    command=command,
    refresh=REFRESH_SECONDS if watched else 0,
    style=(HERE / "style.css").read_text(),
    behaviour=(HERE / "behaviour.js").read_text(),
    plotly=charts.script(),
  )


def summary(shown: Content) -> str:
  """The result in one sentence."""
  scores = shown.after.scores()
  if not scores:
    step = shown.after.rows[-1]["step"] if shown.after.rows else 0
    return f"{shown.after.name} goes on: step {step} of {shown.after.config.get('num_steps')}."
  sentence = (
    f"{shown.after.name} has a mIoU of {100 * scores['miou']:.1f} % on the target after "
    f"{shown.after.results['step']} steps"
  )
  checkpoint = shown.after.results.get("checkpoint", "last")
  if checkpoint != "last":
    sentence += f" [{checkpoint}]"
  before = shown.before.scores() if shown.before else {}
  if not before:
    return sentence + "."
  gain = 100 * (scores["miou"] - before["miou"])
  assert shown.before is not None
  return (
    f"{sentence}, {gain:+.1f} compared with {shown.before.name} ({100 * before['miou']:.1f} %)."
  )


def comparisons(shown: Content) -> list[Comparison]:
  """The images of the page, those first that changed most for the better."""
  earlier = {item.name: item for item in shown.before.examples} if shown.before else {}
  rows = []
  for example in shown.after.examples:
    after = example.predictions.get(shown.after.network)
    if after is None:
      continue
    other = earlier.get(example.name)
    before = other.predictions.get(shown.before.network) if other and shown.before else None
    if before is not None and before.shape != after.shape:
      before = None
    over = lambda label: pictures.of_image(  # noqa: B023
      pictures.overlay(example.image, label, shown.label_space)  # noqa: B023
    )
    wrong = lambda label: pictures.of_image(  # noqa: B023
      pictures.errors(example.image, label, example.truth)  # noqa: B023
    )
    rows.append(
      Comparison(
        name=example.name,
        image=pictures.of_image(example.image),
        before="" if before is None else over(before),
        after=over(after),
        truth=over(example.truth),
        errors_before="" if before is None else wrong(before),
        errors_after=wrong(after),
        wrong=(_wrong(before, example.truth), _wrong(after, example.truth)),
      )
    )
  return sorted(rows, key=lambda row: row.wrong[1] - np.nan_to_num(row.wrong[0]))


def _wrong(label: np.ndarray | None, truth: np.ndarray) -> float:
  known = truth != 255
  if label is None or not known.any():
    return float("nan")
  return 100 * float(np.mean(label[known] != truth[known]))


def class_table(counts: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
  """IoU, F1, precision and recall of every class, and its share of the labelled pixels; in [0, 1]."""
  hits = np.diag(counts).astype(float)
  true, predicted = counts.sum(1), counts.sum(0)
  ratio = lambda a, b: [x / y if y else None for x, y in zip(a, b, strict=True)]
  return [
    dict(zip(("name", "iou", "f1", "precision", "recall", "share"), row, strict=True))
    for row in zip(
      names,
      [None if np.isnan(value) else value for value in metrics.iou(counts)],
      ratio(2 * hits, true + predicted),
      ratio(hits, predicted),
      ratio(hits, true),
      true / max(counts.sum(), 1),
      strict=True,
    )
  ]


def _sets(run: RunContent) -> list[tuple[str, str, dict[str, Any]]]:
  """(set, network, scores) of everything that was evaluated."""
  return [
    (name, network, scores)
    for name, networks in run.results.items()
    if isinstance(networks, dict)
    for network, scores in networks.items()
    if isinstance(scores, dict) and "miou" in scores
  ]
