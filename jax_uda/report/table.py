"""Per-class IoU of several networks side by side."""

import math
from collections.abc import Mapping

import rich.box
import rich.console
import rich.table


def _percent(value: float | None) -> str:
  return "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"


def rows(columns: Mapping[str, Mapping[str, float | None]]) -> list[list[str]]:
  """Header and one row per class, then the mean; IoU in per cent, `–` where it is undefined.

  Args:
    columns: Network name -> (class name -> IoU in [0, 1], NaN or None if undefined).
  """
  classes = list(next(iter(columns.values())))
  table = [["class", *columns]]
  for name in classes:
    table.append([name, *(_percent(column[name]) for column in columns.values())])
  means = []
  for column in columns.values():
    defined = [value for value in column.values() if value is not None and not math.isnan(value)]
    means.append(_percent(sum(defined) / len(defined) if defined else None))
  return [*table, ["mIoU", *means]]


def markdown(columns: Mapping[str, Mapping[str, float | None]]) -> str:
  """The table as GitHub Markdown."""
  header, *body = rows(columns)
  lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
  return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in body)])


def show(columns: Mapping[str, Mapping[str, float | None]], title: str) -> None:
  """Prints the table, classes as rows and networks as columns."""
  header, *body, mean = rows(columns)
  table = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD)
  table.add_column(header[0], no_wrap=True)
  for name in header[1:]:
    # A heading such as "self_training teacher" breaks at its space and, where the terminal is too
    # narrow for all networks, anywhere else: no name is cut off.
    table.add_column(name.replace(" ", "\n"), justify="right", overflow="fold")
  for row in body:
    table.add_row(*row)
  table.add_section()
  table.add_row(*mean, style="bold")
  rich.console.Console().print(table)
