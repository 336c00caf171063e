"""Draws docs/losses.png: where each loss pushes embeddings in the plane.

  python docs/losses_toy.py

Three classes of 2-D embeddings; arrows are steps down the gradient, of equal mean length in every panel;
the number is the mean length of the gradient itself. Stars are prototypes, small dots entries of banks or queues,
crosses the positives of the region contrast. The names are those of the catalogue, docs/losses.md.
"""

import pathlib
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np

from jax_uda import losses

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

COLORS = np.array(["#c2410c", "#1d4ed8", "#15803d"])
KEYS = jax.random.split(jax.random.key(3), 4)
LABELS = jnp.repeat(jnp.arange(3), 8)
ANGLE = jnp.array([0.3, 2.2, 4.3])
PROTOTYPES = jnp.stack([jnp.cos(ANGLE), jnp.sin(ANGLE)], 1)
POINTS = 0.55 * PROTOTYPES[LABELS] + 0.38 * jax.random.normal(KEYS[0], (24, 2))
# The first class spreads along one axis, the others hardly at all.
VARIANCE = jnp.array([[0.02, 0.6], [0.02, 0.02], [0.02, 0.02]])
BANK = PROTOTYPES[:, None] + jnp.sqrt(VARIANCE)[:, None] * jax.random.normal(KEYS[1], (3, 12, 2))

QUEUE = BANK.reshape(-1, 2)  # what the last steps left behind, one dot each
# The teacher sees each place a little better, one cross each.
TEACHER = 0.5 * (POINTS + PROTOTYPES[LABELS])


class Panel(NamedTuple):
  """A loss of the points, and what it compares them with."""

  title: str
  loss: Callable[[jax.Array], jax.Array]
  compared: Literal["prototypes", "bank", "queue", "pixels"]


def of_classes(loss: Callable[..., jax.Array], *tables: jax.Array, temperature: float = 0.5):
  """The loss of the points against one representation per class."""
  return lambda x: loss(x, LABELS, *tables, temperature=temperature)


PANELS = (
  Panel(
    "ProtoCL (SePiCo, SPCL, CONFETI)",
    of_classes(losses.prototype_cross_entropy, PROTOTYPES),
    "prototypes",
  ),
  Panel(
    "ProtoCL, temperature 100",
    of_classes(losses.prototype_cross_entropy, PROTOTYPES, temperature=100.0),
    "prototypes",
  ),
  Panel(
    "DistCL", of_classes(losses.distribution_cross_entropy, PROTOTYPES, VARIANCE), "prototypes"
  ),
  Panel("BankCL", of_classes(losses.bank_cross_entropy, BANK, jnp.full(3, 12)), "bank"),
  Panel(
    "MeanReg, sign 1 (as published)",
    of_classes(losses.mean_similarity_regularizer, PROTOTYPES),
    "prototypes",
  ),
  Panel("CentroidCL", of_classes(losses.centroid_cross_entropy, PROTOTYPES), "prototypes"),
  Panel(
    "InfoNCE",
    lambda x: losses.info_nce(x, LABELS, x, LABELS, temperature=0.5, exclude_diagonal=True),
    "pixels",
  ),
  Panel("CLUDA", lambda x: losses.pixel_contrast(x, LABELS), "pixels"),
  Panel(
    "RCCR",
    lambda x: losses.region_contrast(
      x, TEACHER, LABELS, QUEUE, jnp.repeat(jnp.arange(3), 12), temperature=0.5
    ),
    "queue",
  ),
)


def draw(axes, panel: Panel) -> None:
  """Draws the points, what they are compared with, and steps down the gradient."""
  step = -np.asarray(jax.grad(panel.loss)(POINTS)) * len(POINTS)
  length = np.linalg.norm(step, axis=1).mean()
  axes.quiver(
    *POINTS.T, *(0.3 * step / length).T, angles="xy", scale_units="xy", scale=1, width=5e-3
  )
  axes.scatter(*POINTS.T, c=COLORS[np.asarray(LABELS)], s=18, zorder=3)
  if panel.compared == "queue":
    axes.scatter(*TEACHER.T, c=COLORS[np.asarray(LABELS)], s=25, marker="x", linewidths=0.8)
  if panel.compared in ("bank", "queue"):
    axes.scatter(*BANK.reshape(-1, 2).T, c=np.repeat(COLORS, 12), s=5, alpha=0.6)
  elif panel.compared == "prototypes":
    axes.scatter(*PROTOTYPES.T, c=COLORS, s=150, marker="*", edgecolors="black", zorder=4)
  title = f"{panel.title}\n|gradient| {length:.2g}"
  axes.set(title=title, xlim=(-2, 2), ylim=(-2, 2), aspect="equal")
  axes.set_xticks([])
  axes.set_yticks([])


def main() -> None:
  """Draws all panels into docs/losses.png."""
  columns = 3
  rows = -(-len(PANELS) // columns)
  figure, grid = plt.subplots(
    rows, columns, figsize=(4 * columns, 4.5 * rows), layout="constrained"
  )
  for axes in grid.flat[len(PANELS) :]:
    axes.set_axis_off()
  for axes, panel in zip(grid.flat, PANELS, strict=False):
    draw(axes, panel)
  figure.savefig(pathlib.Path(__file__).with_name("losses.png"), dpi=70)


if __name__ == "__main__":
  main()
