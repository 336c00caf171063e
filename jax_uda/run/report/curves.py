"""The plot of a benchmark: mIoU of every method with its spread, and over steps."""

import math
import pathlib
from collections.abc import Mapping

import numpy as np

from jax_uda.run.report import drawing
from jax_uda.run.report.comparison import Runs, spread
from jax_uda.run.report.runs import Run
from jax_uda.run.settings import NETWORKS


def draw(path: pathlib.Path, runs: Runs, *, title: str) -> None:
  """Writes a PNG: left, mIoU at the end; right, the student's mIoU over steps.

  Args:
    path: The PNG.
    runs: Runs by method and seed; a method without runs is left out.
    title: Text above.

  Raises:
    ImportError: matplotlib is not installed.
  """
  runs = {method: by_seed for method, by_seed in runs.items() if by_seed}
  palette = drawing.load("matplotlib").colormaps["tab10" if len(runs) <= 10 else "tab20"]
  colors = {method: palette(index) for index, method in enumerate(runs)}
  page = drawing.load("matplotlib.figure").Figure(
    figsize=(11, max(0.42 * len(runs) + 1.8, 4.2)), layout="constrained"
  )
  page.suptitle(title, fontsize=11, weight="bold", x=0.01, ha="left")
  ends, over_steps = page.subplots(1, 2, width_ratios=(1, 1.15))
  _draw_ends(ends, runs, colors)
  _draw_curves(over_steps, runs, colors)
  drawing.save(page, path)


def _draw_ends(axis, runs: Runs, colors: Mapping[str, tuple]) -> None:
  """Draws a line for each method: its seeds as dots, mean and standard deviation as a bar with whiskers."""
  for row, (method, by_seed) in enumerate(runs.items()):
    for network, offset, filled in zip(NETWORKS, (-0.16, 0.16), (True, False), strict=True):
      values = [100 * run.scores[network]["miou"] for run in by_seed.values()]
      end = spread(values)
      if end["mean"] is None:
        continue
      color = colors[method]
      axis.errorbar(
        end["mean"],
        row + offset,
        xerr=end["std"] or 0,
        fmt="o",
        ms=6,
        capsize=3,
        color=color,
        mfc=color if filled else "white",
      )
      axis.plot(values, [row + offset] * len(values), "|", color=color, ms=7, alpha=0.6)
  axis.set_yticks(range(len(runs)), runs)
  axis.set_ylim(len(runs) - 0.5, -0.5)
  axis.grid(axis="x", alpha=0.3)
  axis.spines[["top", "right"]].set_visible(False)
  axis.set_xlabel("mIoU on the target at the last step, %")
  axis.set_title("filled: student, open: teacher; mean ± std, ticks: seeds", fontsize=9)


def _draw_curves(axis, runs: Runs, colors: Mapping[str, tuple]) -> None:
  """Draws the student's mean over seeds, with a band of one standard deviation."""
  for method, by_seed in runs.items():
    steps, mean, std = _curve(by_seed)
    axis.plot(steps, mean, "o-", ms=3, lw=1.6, color=colors[method], label=method)
    axis.fill_between(steps, mean - std, mean + std, color=colors[method], alpha=0.12, lw=0)
  axis.grid(alpha=0.3)
  axis.spines[["top", "right"]].set_visible(False)
  axis.set_xlabel("step of the last stage")
  axis.set_ylabel("mIoU on the target, %")
  axis.set_title("student over steps, mean and band of one std", fontsize=9)
  axis.legend(fontsize=8, frameon=False, ncols=math.ceil(len(runs) / 6), loc="best")


def _curve(by_seed: Mapping[int, Run]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Steps at which all seeds were evaluated; mean and standard deviation there, in %."""
  curves = [dict(zip(run.steps, run.miou["student"], strict=True)) for run in by_seed.values()]
  steps = sorted(set.intersection(*map(set, curves)))
  values = 100 * np.array([[curve[step] for step in steps] for curve in curves])
  std = values.std(0, ddof=1) if len(values) > 1 else np.zeros(len(steps))
  return np.array(steps), values.mean(0), std
