"""The picture of prototype similarities: a matrix of the classes for some steps."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jax_uda.run.report import drawing

SIZE = 2.6  # inches of a matrix
MOST = 5  # matrices in a row


def draw(
  path: pathlib.Path,
  found: Mapping[str, Mapping[int, np.ndarray]],
  names: Sequence[str],
  *,
  title: str,
) -> None:
  """Writes a PNG: a row for each term, with matrices of up to `MOST` steps, first and last included.

  Args:
    path: Of the PNG.
    found: By term and step, [C,C] cosines; NaN is shown grey.
    names: Of the C classes.
    title: Above.

  Raises:
    ImportError: matplotlib is not installed.
  """
  chosen = {term: _some(list(by_step), MOST) for term, by_step in found.items()}
  columns = max(map(len, chosen.values()))
  size = (SIZE * columns + 1.6, SIZE * len(found) + 1.5)
  page = drawing.load("matplotlib.figure").Figure(figsize=size, layout="constrained")
  page.suptitle(title, fontsize=11, weight="bold", x=0.01, ha="left")
  axes = page.subplots(len(found), columns, squeeze=False)
  for row, (term, by_step) in zip(axes, found.items(), strict=True):
    for axis in row:
      axis.set_visible(False)
    for axis, step in zip(row, chosen[term], strict=False):
      axis.set_visible(True)
      axis.set_facecolor("0.8")
      image = axis.imshow(by_step[step], cmap="RdBu_r", vmin=-1, vmax=1)
      axis.set_title(f"{term}, step {step}", fontsize=9)
      axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
      axis.set_yticks(range(len(names)), names if axis is row[0] else [], fontsize=7)
      axis.tick_params(length=0)
  page.colorbar(image, ax=axes, shrink=0.8, aspect=25, label="cosine of the prototypes")
  page.savefig(path, dpi=drawing.DPI)


def _some(steps: Sequence[int], number: int) -> list[int]:
  """Up to `number` of the steps, evenly, the first and the last among them."""
  places = np.linspace(0, len(steps) - 1, min(number, len(steps))).round().astype(int)
  return [steps[place] for place in places]
