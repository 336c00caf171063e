"""A page on what a look at the data found: classes, values of many bits, and every pair that cannot be used."""

import pathlib
import re
import textwrap
from collections.abc import Sequence

import numpy as np

from jax_uda.data.label_spaces import LabelSpace
from jax_uda.run import findings as findings_lib
from jax_uda.run.findings import Findings
from jax_uda.run.report import drawing

# Lengths in inches, so that text keeps its size whatever the number of rows.
WIDTH, MARGIN = 9.5, 0.3
LINE = 0.18  # of text
BAR = 0.2  # of a class
ROW = 0.76  # of a bad pair
_PROBLEM_LINES = 3
PICTURE = 1.05  # the width of its picture
LETTERS = 128  # in a line of the summary
LETTERS_OF_PROBLEM = 108  # in a line beside a picture
_WARNING, _QUIET = "#b3261e", "0.45"
# A path of several folders: the last two names say enough beside a picture.
_PATH = re.compile(r"(?<![\w.~-])(?:~?/[^\s/:;,]+)+/([^\s/:;,]+/[^\s/:;,]+)")


class _Page:
  """A figure that is filled from top to bottom."""

  def __init__(self, height: float):
    self.figure = drawing.load("matplotlib.figure").Figure(figsize=(WIDTH, height))
    self.height, self.top = height, height - MARGIN

  def write(self, line: str, *, size: float = 9, left: float = MARGIN, **style) -> None:
    """Writes a line at the current height and goes on below it."""
    self.figure.text(
      left / WIDTH, self.top / self.height, line, fontsize=size, va="top", parse_math=False, **style
    )
    self.top -= LINE * size / 9

  def axes(self, left: float, width: float, height: float):
    """Axes at the current height, which stays."""
    box = (left / WIDTH, (self.top - height) / self.height, width / WIDTH, height / self.height)
    return self.figure.add_axes(box)


def _wrapped(lines: Sequence[str]) -> list[tuple[str, str]]:
  """The lines of the summary and the color of each."""
  colored = []
  for line in map(str.strip, lines):
    color = _WARNING if line.startswith(("warning", "never")) else "black"
    colored += [(part, color) for part in textwrap.wrap(line, LETTERS) or [""]]
  return colored


def short(problem: str) -> str:
  """A problem whose paths are cut to their last two names."""
  return _PATH.sub(r"…/\1", problem)


def draw(path: pathlib.Path, findings: Findings, label_space: LabelSpace, title: str) -> None:
  """Writes the page as a PNG.

  Args:
    path: The PNG.
    findings: What is in a split.
    label_space: Names and colors of the classes.
    title: The title of the page.

  Raises:
    ImportError: matplotlib is not installed.
  """
  text = findings_lib.describe("", findings, label_space).removeprefix(": ").splitlines()
  summary = text[: len(text) - _num_problem_lines(findings)]
  lines = _wrapped(summary)
  shown = findings.problems[: findings_lib.SHOWN_PROBLEMS]
  chart = _chart_height(findings, label_space)
  below = 2.5 * LINE + len(shown) * ROW + LINE if shown else 0.0
  page = _Page(2 * MARGIN + 2.2 * LINE + len(lines) * LINE + chart + below)
  page.write(title, size=12, weight="bold")
  page.top -= 0.08
  for line, color in lines:
    page.write(line, color=color)
  if chart:
    _draw_charts(page, findings, label_space)
    page.top -= chart
  if shown:
    _draw_problems(page, findings, shown)
  drawing.save(page.figure, path)


def _num_problem_lines(findings: Findings) -> int:
  return len(findings_lib.listed(findings.problems)) + 1 if findings.problems else 0


def _chart_height(findings: Findings, label_space: LabelSpace) -> float:
  classes = BAR * label_space.num_classes if findings.pixels.any() else 0.0
  values = 1.3 if findings.values else 0.0
  return max(classes, values) + 1.0 if classes or values else 0.0


def _draw_charts(page: _Page, findings: Findings, label_space: LabelSpace) -> None:
  """The share of each class and, beside it, the histogram of values of more than 8 bits."""
  page.top -= 0.4
  left = MARGIN
  if findings.pixels.any():
    _draw_shares(page.axes(MARGIN + 1.2, 2.6, BAR * label_space.num_classes), findings, label_space)
    left += 5.0
  if findings.values:
    _draw_values(page.axes(left, WIDTH - left - MARGIN, 1.3), findings)
  page.top += 0.4


def _draw_shares(axis, findings: Findings, label_space: LabelSpace) -> None:
  shares = 100 * findings.pixels / findings.pixels.sum()
  rows = np.arange(len(shares))
  axis.barh(rows, shares, color=label_space.palette / 255, edgecolor="0.4", lw=0.5)
  for row, share in zip(rows, shares, strict=True):
    color = _QUIET if share else _WARNING
    axis.text(
      share + 1, row, f"{share:.1f} %" if share else "never", va="center", size=8, color=color
    )
  axis.set(yticks=rows, yticklabels=label_space.names, xlim=(0, 115), ylim=(len(rows) - 0.5, -0.5))
  axis.set_title("share of the labelled pixels", fontsize=9, loc="left")
  axis.tick_params(labelsize=8, length=0)
  axis.set_xticks([])
  axis.spines[:].set_visible(False)


def _draw_values(axis, findings: Findings) -> None:
  """The histogram of each band, and the values that become black and white."""
  bands = max(values.shape[1] for values in findings.values)
  colors = ("0.3",) if bands == 1 else ("#c62828", "#2e7d32", "#1565c0")
  fits = [values for values in findings.values if values.shape[1] == bands]
  values = np.concatenate(fits)
  ends = list(findings.value_range) or ([(0.0, float(findings.top))] if findings.top else [])
  low = min([values.min(), *(a for a, _ in ends)])
  high = max([values.max(), *(b for _, b in ends)])
  for band, color in zip(values.T, colors, strict=False):
    axis.hist(band, bins=128, range=(low, max(high, low + 1)), histtype="step", color=color, lw=1)
  for a, b in ends:
    axis.axvline(a, color="0.6", ls=":", lw=1)
    axis.axvline(b, color="0.6", ls=":", lw=1)
  axis.set_title(
    "values in the files; dotted: what becomes black and white", fontsize=9, loc="left"
  )
  axis.tick_params(labelsize=8)
  axis.set_yticks([])
  axis.spines[["top", "right", "left"]].set_visible(False)


def _draw_problems(page: _Page, findings: Findings, shown: Sequence[str]) -> None:
  """One row per pair: its image, and the sentence that says what is wrong."""
  page.top -= LINE
  number, total = len(findings.problems), findings.number
  page.write(f"{number} of {total} pairs cannot be used", size=10, weight="bold", color=_WARNING)
  page.top -= 0.08
  for problem, picture in zip(shown, findings.pictures, strict=False):
    top = page.top
    height = ROW - 0.1
    axis = page.axes(MARGIN, PICTURE, height)
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_color("0.8")
    if picture is None:
      axis.set_facecolor("0.93")
      axis.text(0.5, 0.5, "no image", ha="center", va="center", size=8, color=_QUIET)
    else:
      axis.imshow(picture, interpolation="nearest")
    name, _, rest = short(problem).partition(" ")
    lines = textwrap.wrap(rest, LETTERS_OF_PROBLEM)[:_PROBLEM_LINES]
    page.top -= (height - (len(lines) + 1) * LINE) / 2
    page.write(name, left=MARGIN + PICTURE + 0.15, weight="bold")
    for line in lines:
      page.write(line, left=MARGIN + PICTURE + 0.15)
    page.top = top - ROW
  if number > len(shown):
    page.write(f"and {number - len(shown)} more, all in check_problems.txt", size=8.5, color=_QUIET)
