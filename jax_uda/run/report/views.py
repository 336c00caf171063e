"""The views of a training step as rows of pictures."""

from collections.abc import Mapping

import numpy as np

from jax_uda.step.context import View

IMAGES = 2  # of each view
BOX_COLOR = (255, 0, 255)  # no class has it


def columns(
  views: Mapping[str, View], crops: Mapping[str, np.ndarray]
) -> tuple[dict[str, list[np.ndarray]], list[str]]:
  """Arrays for `panels.draw`, one view per row: image, label and weight of the first images.

  Views that are equal share a row. Where a view has a detail crop, a box is drawn around it; else around
  the pixels that count, if they form a rectangle (CutMix, margins).

  Args:
    views: Views by name.
    crops: Boxes [B,4] (y1, y2, x1, x2) of detail crops (HRDA), by name of the view.

  Returns:
    Arrays by column title, and the names of the rows.
  """
  groups: list[list[str]] = []  # of names of equal views
  for name, view in views.items():
    equal = [group for group in groups if _equal(views[group[0]], view)]
    if equal:
      equal[0].append(name)
    else:
      groups.append([name])
  cells: dict[str, list[np.ndarray]] = {}
  for group in groups:
    view, pictures = views[group[0]], picture(views[group[0]])
    for i in range(min(len(pictures), IMAGES)):
      boxes = [crops[name][i] for name in group if name in crops]
      for box in boxes or [rectangle(np.asarray(view.weight[i]))]:
        _outline(pictures[i], box)
      for title, array in (("image", pictures), ("label", view.label), ("weight", view.weight)):
        cells.setdefault(f"{title} {i + 1}", []).append(np.asarray(array[i]))
  return cells, [" = ".join(group) for group in groups]


def picture(view: View) -> np.ndarray:
  """The images of a view, uint8 [B,H,W,3]."""
  return np.clip(np.round(255 * np.asarray(view.image)), 0, 255).astype(np.uint8)


def rectangle(weight: np.ndarray) -> np.ndarray | None:
  """The box (y1, y2, x1, x2) that the pixels of [H,W] above 0 fill; None if they fill none, or all."""
  rows, cells = (np.flatnonzero((weight > 0).any(axis)) for axis in (1, 0))
  if not len(rows):
    return None
  box = np.array([rows[0], rows[-1] + 1, cells[0], cells[-1] + 1])
  filled = (weight[box[0] : box[1], box[2] : box[3]] > 0).all()
  return box if filled and (weight == 0).any() else None


def _equal(first: View, second: View) -> bool:
  return all(
    np.array_equal(getattr(first, part), getattr(second, part))
    for part in ("image", "label", "weight")
  )


def _outline(image: np.ndarray, box: np.ndarray | None) -> None:
  """Draws the edge of the box (y1, y2, x1, x2) into [H,W,3]."""
  if box is None:
    return
  y1, y2, x1, x2 = (int(edge) for edge in box)
  line = max(len(image) // 96, 1)
  inside = image[y1:y2, x1:x2].copy()
  image[y1:y2, x1:x2] = BOX_COLOR
  image[y1 + line : y2 - line, x1 + line : x2 - line] = inside[line:-line, line:-line]
