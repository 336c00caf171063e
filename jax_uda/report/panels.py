"""Pictures of what a method sees: images, labels and weights in a grid, with a legend."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from jax_uda.data.label_spaces import LabelSpace

CELL_INCHES = 2.0  # width of one picture
DPI = 110


def colourise(label: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """uint8 [..., 3] colours of label [...]; ignored pixels are black."""
  table = np.zeros((256, 3), np.uint8)
  table[: label_space.num_classes] = label_space.palette
  return table[label]


def _pyplot():
  try:
    import matplotlib
  except ImportError:
    raise ImportError('pictures need matplotlib: pip install "jax-uda[viz]"') from None
  matplotlib.use("Agg")
  from matplotlib import pyplot

  return pyplot


def draw(
  path: pathlib.Path,
  columns: Mapping[str, Sequence[np.ndarray]],
  label_space: LabelSpace,
  *,
  title: str = "",
) -> None:
  """Writes a PNG with one row per image and one column per entry of `columns`.

  Args:
    path: Of the PNG.
    columns: Title -> one array per row: uint8 [H,W,3] an image, integer [H,W] a label, floating
      [H,W] a weight in [0, 1].
    label_space: Names and colours of the classes.
    title: Above the grid.

  Raises:
    ImportError: matplotlib is not installed.
  """
  pyplot = _pyplot()
  num_rows = len(next(iter(columns.values())))
  height, width = next(iter(columns.values()))[0].shape[:2]
  cell = (CELL_INCHES, CELL_INCHES * height / width)
  top, bottom = 0.55, 0.65  # inches for titles and legend
  size = (cell[0] * len(columns), cell[1] * num_rows + top + bottom)
  figure, axes = pyplot.subplots(
    num_rows,
    len(columns),
    figsize=size,
    squeeze=False,
    gridspec_kw=dict(
      left=0.004,
      right=0.996,
      top=1 - top / size[1],
      bottom=bottom / size[1],
      wspace=0.02,
      hspace=0.03,
    ),
  )
  for column, (name, cells) in zip(axes.T, columns.items(), strict=True):
    column[0].set_title(name, fontsize=9, pad=4)
    for axis, array in zip(column, cells, strict=True):
      axis.axis("off")
      _show(axis, array, label_space)
  figure.suptitle(title, fontsize=11, y=1 - 0.08 / size[1], va="top")
  _legend(figure, label_space, columns=max(4, int(size[0] / 1.35)))
  figure.savefig(path, dpi=DPI)
  pyplot.close(figure)


def _show(axis, array: np.ndarray, label_space: LabelSpace) -> None:
  if array.ndim == 3:
    axis.imshow(array, interpolation="nearest")
  elif np.issubdtype(array.dtype, np.floating):
    axis.imshow(array, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
  else:
    axis.imshow(colourise(array, label_space), interpolation="nearest")


def _legend(figure, label_space: LabelSpace, columns: int) -> None:
  from matplotlib.patches import Patch

  entries = [
    Patch(facecolor=colour / 255, edgecolor="0.4", linewidth=0.5, label=name)
    for name, colour in zip(label_space.names, label_space.palette, strict=True)
  ]
  entries.append(Patch(facecolor="black", label="ignored"))
  figure.legend(
    handles=entries,
    loc="lower center",
    ncols=min(columns, len(entries)),
    fontsize=8,
    frameon=False,
    borderaxespad=0.2,
  )
