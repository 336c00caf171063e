"""`before_after.png`: what a network saw before adaptation, and after, beside the ground truth."""

import pathlib

from jax_uda.run.report import panels
from jax_uda.run.report.page.content import Content

FILE = "before_after.png"
ROWS = 3


def draw(folder: pathlib.Path, shown: Content) -> pathlib.Path | None:
  """Draws the images that both runs kept, those first that gained most.

  Args:
    folder: Where the PNG is written.
    shown: What is compared.

  Returns:
    The PNG; None if there is nothing to compare.

  Raises:
    ImportError: matplotlib is not installed.
  """
  if shown.before is None:
    return None
  before, after = shown.before, shown.after
  earlier = {example.name: example.predictions.get(before.network) for example in before.examples}
  rows = []
  for example in after.examples:
    old, new = earlier.get(example.name), example.predictions.get(after.network)
    if old is not None and new is not None and old.shape == new.shape:
      known = example.truth != 255
      gain = ((new == example.truth) & known).sum() - ((old == example.truth) & known).sum()
      rows.append((gain / max(known.sum(), 1), example.image, old, new, example.truth))
  if not rows:
    return None
  rows = sorted(rows, key=lambda row: -row[0])[:ROWS]
  titles = ("target image", f"before: {before.name}", f"after: {after.name}", "ground truth")
  columns = {title: [row[index] for row in rows] for index, title in enumerate(titles, start=1)}
  path = folder / FILE
  panels.draw(
    path,
    columns,
    shown.label_space,
    title=shown.title,
    row_names=[f"right pixels: {100 * row[0]:+.0f} %" for row in rows],
  )
  return path
