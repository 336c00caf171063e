"""What is in the splits of a data set, counted and put into words."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline.rescale import Size

SHOWN_PROBLEMS = 20  # the number of problems that a text lists


@dataclasses.dataclass
class Findings:
  """What is in one split.

  Attributes:
    number: The number of examples, readable or not.
    pixels: [C] int64 pixels of each class.
    sizes: The number of images of each (height, width); empty if it is not known.
    ignored: The number of pixels that belong to no class; None if it is not known.
    problems: One sentence per file that cannot be used.
    samples: (name, image, label) of some examples, reduced in size.
  """

  number: int
  pixels: np.ndarray
  sizes: collections.Counter[Size] = dataclasses.field(default_factory=collections.Counter)
  ignored: int | None = None
  problems: list[str] = dataclasses.field(default_factory=list)
  samples: list[tuple[str, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)


def listed(problems: Sequence[str], indent: str = "    ") -> list[str]:
  """Lines with the first problems, and the number of the others."""
  lines = [f"{indent}{problem}" for problem in problems[:SHOWN_PROBLEMS]]
  if len(problems) > SHOWN_PROBLEMS:
    lines.append(f"{indent}and {len(problems) - SHOWN_PROBLEMS} more")
  return lines


def _sizes(sizes: collections.Counter[Size]) -> str:
  common = sizes.most_common(4)
  text = ", ".join(f"{number} of {height}x{width}" for (height, width), number in common)
  more = len(sizes) - len(common)
  return f"{text} and {more} more sizes" if more else text


def describe(
  title: str, findings: Findings, label_space: LabelSpace, *, unit: str = "pairs"
) -> str:
  """The findings in words: number, sizes, classes that never occur, problems.

  Args:
    title: The name of the split.
    findings: What is in the split.
    label_space: The classes.
    unit: What is counted: "pairs" of files or prepared "images".
  """
  known = "; none can be read" if findings.problems else ""
  if findings.sizes:
    known = f"; {_sizes(findings.sizes)}"
  lines = [f"{title}: {findings.number} {unit}{known}"]
  total = int(findings.pixels.sum())
  if total:
    if findings.ignored is not None:
      share = 100 * findings.ignored / (total + findings.ignored)
      lines.append(f"  {share:.1f} % of the pixels are ignored")
    absent = [n for n, pixels in zip(label_space.names, findings.pixels, strict=True) if not pixels]
    if absent:
      lines.append(f"  never occurs: {', '.join(absent)}")
  elif len(findings.problems) < findings.number:
    lines.append("  no labelled pixels")
  if findings.problems:
    lines.append(f"  {len(findings.problems)} {unit} cannot be used:")
    lines += listed(findings.problems)
  return "\n".join(lines)


def shares(findings: Mapping[str, Findings], names: Sequence[str]) -> str:
  """A table of the share of each class in the labelled pixels of each split, in per cent.

  Args:
    findings: What is in each split, by its title.
    names: The class names.
  """
  columns = list(findings)
  width = max(len(name) for name in (*names, "class"))

  def line(first: str, cells: Sequence[str]) -> str:
    padded = (f"{cell:>{len(column)}}" for cell, column in zip(cells, columns, strict=True))
    return f"{first:{width}}  " + "  ".join(padded)

  def share(pixels: np.ndarray, c: int) -> str:
    return f"{100 * pixels[c] / pixels.sum():.2f}" if pixels.any() else "–"

  rows = [line("class", columns)]
  for c, name in enumerate(names):
    rows.append(line(name, [share(split.pixels, c) for split in findings.values()]))
  return "\n".join(rows)
