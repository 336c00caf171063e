"""Tables of the IoU per class, several networks side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
import rich.console
import rich.table

Columns = Mapping[str, Mapping[str, Any]]


def _percent(value: float | None) -> str:
  return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def rows(columns: Columns) -> tuple[list[list[str]], list[list[str]]]:
  """A header with one row per class; and rows of means, over all classes and over subsets.

  Numbers are in per cent, `–` where undefined.

  Args:
    columns: By network name: `iou` by class name (in [0, 1]; NaN or None if undefined), `miou`, and
      `subsets`, means over some classes by name, as in `results.json`.
  """
  first = next(iter(columns.values()))
  row = lambda name, values: [name, *map(_percent, values)]
  body = [["class", *columns]]
  body += [row(name, [c["iou"][name] for c in columns.values()]) for name in first["iou"]]
  means = [row("mIoU", [c["miou"] for c in columns.values()])]
  for name in first["subsets"]:
    means.append(row(f"mIoU {name}", [c["subsets"][name] for c in columns.values()]))
  return body, means


def markdown(columns: Columns) -> str:
  """The table as GitHub Markdown."""
  body, means = rows(columns)
  return grid_markdown(body + means)


def grid_markdown(grid: Sequence[Sequence[str]]) -> str:
  """A grid, whose first row is the header, as GitHub Markdown."""
  header, *body = grid
  lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
  return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def show(columns: Columns, title: str) -> None:
  """Prints the table, classes as rows and networks as columns."""
  body, means = rows(columns)
  show_grid(body, means, title=title)


def show_grid(
  grid: Sequence[Sequence[str]], means: Sequence[Sequence[str]] = (), *, title: str
) -> None:
  """Prints a grid, whose first row is the header, and below it the rows of `means` in bold."""
  header, *body = grid
  table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
  table.add_column(header[0], no_wrap=True)
  for name in header[1:]:
    # A heading such as "self_training teacher" breaks at its space and, where the terminal is too
    # narrow for all networks, anywhere else: no name is cut off.
    table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
  for row in body:
    table.add_row(*row)
  table.add_section()
  for row in means:
    table.add_row(*row, style="bold")
  rich.console.Console().print(table)
