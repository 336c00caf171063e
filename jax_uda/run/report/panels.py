"""Images, labels and weights in a grid, with a legend."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jax_uda.data.label_spaces import LabelSpace
from jax_uda.run.report import drawing

# Lengths in inches, so that text keeps its size and place whatever the number of pictures.
CELL_WIDTH = 2.0  # a picture of 128 pixels is shown at twice its size
MIN_ASPECT, MAX_ASPECT = 0.2, 2.0  # of a picture: height / width
GAP = 0.05
LEFT, RIGHT, TOP = 0.3, 0.1, 0.6  # the row names; the edge; title and column names
LEGEND_MARGIN, LEGEND_ROW, LEGEND_ENTRY = 0.25, 0.16, 1.15  # around it; height; width of an entry
WEIGHT_COLORS = "viridis"


def colorize(label: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """uint8 [..., 3] colors of label [...]; ignored pixels are black."""
  table = np.zeros((256, 3), np.uint8)
  table[: label_space.num_classes] = label_space.palette
  return table[label]


def draw(
  path: pathlib.Path,
  columns: Mapping[str, Sequence[np.ndarray]],
  label_space: LabelSpace,
  *,
  title: str = "",
  row_names: Sequence[str] = (),
) -> None:
  """Writes a PNG with one row per image and one column per entry of `columns`.

  Args:
    path: The PNG.
    columns: By title one array per row: an image uint8 [H,W,3], a label [H,W] of integers, or a weight
      [H,W] of floats in [0, 1].
    label_space: Names and colors of the classes.
    title: Text above the grid.
    row_names: Text left of each row; `image 1`, `image 2`, … if empty.

  Raises:
    ImportError: matplotlib is not installed.
    ValueError: There is nothing to draw, or columns and row names differ in length.
  """
  lengths = {name: len(cells) for name, cells in columns.items()}
  num_rows = max(lengths.values(), default=0)
  row_names = row_names or [f"image {row + 1}" for row in range(num_rows)]
  if not num_rows or {*lengths.values(), len(row_names)} != {num_rows}:
    raise ValueError(
      f"columns must have one length, above 0, and so must row_names ({len(row_names)}): {lengths}"
    )
  arrays = [[np.asarray(cell) for cell in cells] for cells in columns.values()]
  height, width = arrays[0][0].shape[:2]
  entries = _legend_entries(label_space, with_weights=any(_is_weight(c[0]) for c in arrays))
  aspect = min(max(height / width, MIN_ASPECT), MAX_ASPECT)  # however long and narrow an image is
  figure, axes = _grid(num_rows, len(columns), aspect, len(entries))
  for column, cells in zip(axes.T, arrays, strict=True):
    for axis, array in zip(column, cells, strict=True):
      _show(axis, array, label_space)
  for axis, name in zip(axes[0], columns, strict=True):
    axis.set_title(name, fontsize=9, pad=4)
  for axis, name in zip(axes[:, 0], row_names, strict=True):
    axis.set_ylabel(name, fontsize=8, labelpad=3)
  _write_around(figure, title, entries)
  drawing.save(figure, path)


def _is_weight(array: np.ndarray) -> bool:
  return array.ndim == 2 and np.issubdtype(array.dtype, np.floating)


def _legend_columns(page_width: float, num_entries: int) -> int:
  return min(max(int((page_width - LEFT - RIGHT) / LEGEND_ENTRY), 1), num_entries)


def _grid(num_rows: int, num_columns: int, aspect: float, num_entries: int):
  """A figure and its axes [rows, columns], with room for titles and for the legend's rows."""
  cell_height = CELL_WIDTH * aspect
  width = LEFT + num_columns * (CELL_WIDTH + GAP) - GAP + RIGHT
  bottom = LEGEND_MARGIN + LEGEND_ROW * math.ceil(num_entries / _legend_columns(width, num_entries))
  height = TOP + num_rows * (cell_height + GAP) - GAP + bottom
  page = drawing.load("matplotlib.figure").Figure(figsize=(width, height))
  axes = page.subplots(
    num_rows,
    num_columns,
    squeeze=False,
    subplot_kw=dict(xticks=[], yticks=[]),
    gridspec_kw=dict(
      left=LEFT / width,
      right=1 - RIGHT / width,
      top=1 - TOP / height,
      bottom=bottom / height,
      wspace=GAP / CELL_WIDTH,
      hspace=GAP / cell_height,
    ),
  )
  return page, axes


def _show(axis, array: np.ndarray, label_space: LabelSpace) -> None:
  axis.spines[:].set_visible(False)
  if _is_weight(array):
    axis.imshow(array, cmap=WEIGHT_COLORS, vmin=0, vmax=1, interpolation="nearest")
  else:
    image = array if array.ndim == 3 else colorize(array, label_space)
    axis.imshow(image, interpolation="nearest")


def _legend_entries(label_space: LabelSpace, *, with_weights: bool) -> list[tuple]:
  """(color, name) of every class, of ignored pixels, and of some weights."""
  entries = list(zip(label_space.palette / 255, label_space.names, strict=True))
  entries.append(("black", "ignored"))
  if with_weights:
    entries += [(weight, f"weight {weight:g}") for weight in (0.0, 0.5, 1.0)]
  return entries


def _write_around(figure, title: str, entries: Sequence[tuple]) -> None:
  """Writes the title at the top and the legend at the bottom, in line with the pictures."""
  patch = drawing.load("matplotlib.patches").Patch
  width, height = figure.get_size_inches()
  figure.text(LEFT / width, 1 - 0.08 / height, title, fontsize=11, weight="bold", va="top")
  weights = drawing.load("matplotlib").colormaps[WEIGHT_COLORS]
  figure.legend(
    handles=[
      patch(fc=weights(c) if isinstance(c, float) else c, ec="0.4", lw=0.5, label=name)
      for c, name in entries
    ],
    loc="lower left",
    bbox_to_anchor=(LEFT / width, LEGEND_MARGIN / 4 / height),
    ncols=_legend_columns(width, len(entries)),
    fontsize=8,
    frameon=False,
    borderpad=0,
    borderaxespad=0,
    labelspacing=0.4,
    columnspacing=1.2,
  )
