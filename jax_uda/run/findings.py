"""What is in the splits of a data set, counted and put into words."""

import collections
import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from jax_uda.common import file_walk
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline.rescale import Size

SHOWN_PROBLEMS = 20  # the number of problems that a text lists
MIN_LEVELS = 64  # of 256 grey levels; images that use fewer look black


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
    pictures: Small images of the pairs that cannot be used, in the order of `problems`; None where an
      image cannot be read.
    num_turned: The number of images that their EXIF orientation turns.
    left_out: Kind -> the number of files in its folders that are not read.
    values: float32 [N,D] arrays, some stored values of the images of more than 8 bits.
    top: The largest value that these files can hold; 0 if that is not known.
    value_range: The values that become 0 and 255, one pair or one per band; empty: 0 and `top`.
  """

  number: int
  pixels: np.ndarray
  sizes: collections.Counter[Size] = dataclasses.field(default_factory=collections.Counter)
  ignored: int | None = None
  problems: list[str] = dataclasses.field(default_factory=list)
  samples: list[tuple[str, np.ndarray, np.ndarray]] = dataclasses.field(default_factory=list)
  pictures: list[np.ndarray | None] = dataclasses.field(default_factory=list)
  num_turned: int = 0
  left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
  values: list[np.ndarray] = dataclasses.field(default_factory=list)
  top: int = 0
  value_range: Sequence[tuple[float, float]] = ()


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


def range_in_use(findings: Findings) -> tuple[float, float] | None:
  """The values between which 99.8 % of the stored values lie; None without images of more than 8 bits."""
  if not findings.values:
    return None
  low, high = np.percentile(np.concatenate([v.ravel() for v in findings.values]), (0.1, 99.9))
  return (float(np.floor(low)), float(np.ceil(high))) if findings.top else (float(low), float(high))


def _about_values(findings: Findings) -> list[str]:
  """Lines about the range of images of more than 8 bits."""
  ends = range_in_use(findings)
  if ends is None:
    return []
  low, high = ends
  lines = [f"  images of more than 8 bits: {len(findings.values)}; values from {low:g} to {high:g}"]
  if findings.value_range:
    pairs = ", ".join(f"{a:g} to {b:g}" for a, b in findings.value_range)
    lines.append(f"  of these, {pairs} become 0 to 255")
  elif findings.top:
    levels = max(round((high - low) / findings.top * 255), 1)
    if levels <= MIN_LEVELS:
      lines.append(
        f"  warning: of 0 to {findings.top} this is a small part, of which {levels} of 256 grey levels are "
        f"left; set value_range=({low:g}, {high:g}) or value_range='percentile'"
      )
  return lines


def notes(findings: Findings) -> list[str]:
  """Lines about files that are worth a look though they can be used, or are not read."""
  lines = _about_values(findings)
  if findings.num_turned:
    lines.append(
      f"  images turned by their EXIF orientation, as viewers show them: {findings.num_turned}"
    )
  if findings.left_out:
    lines.append(f"  {file_walk.describe(findings.left_out)}")
  return lines


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
  lines += notes(findings)
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
