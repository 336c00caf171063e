"""The picture of embeddings in the plane: by class and by domain, before and after training."""

import pathlib
from collections.abc import Mapping

import numpy as np

from jax_uda.data.label_spaces import LabelSpace
from jax_uda.run.report import drawing

SIZE, LEGEND = 2.9, 0.75  # inches: side of a plot; room for the legend
SOURCE, TARGET = "#4477aa", "#ee6677"
COLUMNS = (
  "target, by predicted class",
  "target, by ground truth\n(evaluation only)",
  "both, by class (dots: source, label;\ncrosses: target, prediction)",
  "both domains",
)


def draw(
  path: pathlib.Path,
  rows: Mapping[str, Mapping[str, np.ndarray]],
  label_space: LabelSpace,
  *,
  title: str,
) -> None:
  """Writes a PNG with one row per entry of `rows`.

  Args:
    path: Of the PNG.
    rows: Title -> `plane` [N,2], `prediction` and `label` [N], `target` [N] bool.
    label_space: Names and colours of the classes.
    title: Above.

  Raises:
    ImportError: matplotlib is not installed.
  """
  width, height = SIZE * len(COLUMNS), SIZE * len(rows) + LEGEND + 0.75
  page = drawing.load("matplotlib.figure").Figure(figsize=(width, height))
  page.text(0.1 / width, 1 - 0.08 / height, title, fontsize=11, weight="bold", va="top")
  axes = page.subplots(
    len(rows),
    len(COLUMNS),
    squeeze=False,
    subplot_kw=dict(xticks=[], yticks=[]),
    gridspec_kw=dict(
      left=0.3 / width,
      right=1 - 0.1 / width,
      top=1 - 0.75 / height,
      bottom=LEGEND / height,
      wspace=0.04,
      hspace=0.04,
    ),
  )
  for line, (name, found) in zip(axes, rows.items(), strict=True):
    line[0].set_ylabel(name, fontsize=9)
    _draw_row(line, found, label_space)
  for axis, name in zip(axes[0], COLUMNS, strict=True):
    axis.set_title(name, fontsize=9, pad=4)
  dot = lambda colour, name: drawing.load("matplotlib.lines").Line2D(
    [], [], marker="o", ls="", color=colour, label=name
  )
  classes = zip(label_space.palette / 255, label_space.names, strict=True)
  handles = [dot(SOURCE, "source"), dot(TARGET, "target")]
  handles += [dot(colour, name) for colour, name in classes]
  page.legend(handles=handles, loc="lower left", ncols=10, fontsize=8, frameon=False)
  page.savefig(path, dpi=drawing.DPI)


def _draw_row(axes, found: Mapping[str, np.ndarray], label_space: LabelSpace) -> None:
  target = found["target"]
  x, y = found["plane"].T
  table = np.full((256, 3), 0.85)  # pixels without a label
  table[: label_space.num_classes] = label_space.palette / 255
  shown = np.where(target, found["prediction"], found["label"])
  style = dict(s=7, lw=0, alpha=0.75)
  axes[0].scatter(x[target], y[target], c=table[found["prediction"][target]], **style)
  axes[1].scatter(x[target], y[target], c=table[found["label"][target]], **style)
  axes[2].scatter(x[~target], y[~target], c=table[shown[~target]], **style)
  axes[2].scatter(x[target], y[target], c=table[shown[target]], s=9, lw=0.8, marker="x")
  order = np.random.default_rng(0).permutation(len(x))  # neither domain covers the other
  colours = np.where(target, TARGET, SOURCE)
  axes[3].scatter(x[order], y[order], c=colours[order], **style)
  low, high = found["plane"].min(0), found["plane"].max(0)
  margin = 0.04 * (high - low) + 1e-9
  for axis in axes:
    axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axis.spines[:].set_color("0.8")
