"""People and cyclists: flat figures facing the viewer."""

import numpy as np

from jax_uda.data.streets import shapes
from jax_uda.data.streets.classes import BICYCLE, PERSON

_SKINS = ((0.86, 0.66, 0.54), (0.70, 0.50, 0.38), (0.45, 0.31, 0.24), (0.92, 0.74, 0.63))
_METAL = (0.12, 0.12, 0.13)


def person(rng: np.random.Generator, coats, x, z) -> shapes.Thing:
  """Somebody walking or standing at (x, z)."""
  height, stride = rng.uniform(1.65, 1.95), rng.uniform(0.03, 0.34)
  top, trousers = (np.array(coats[i]) for i in rng.integers(len(coats), size=2))
  skin = _SKINS[rng.integers(len(_SKINS))]
  lean = rng.uniform(-0.04, 0.04)
  parts = [
    limb((0, 0.50), (-stride, 0.02), 0.17, trousers * 0.55),
    limb((0, 0.50), (stride, 0.0), 0.17, trousers * 0.62),
    limb((-0.20, 0.80), (-0.26 - stride / 3, 0.48), 0.10, top * 0.8),
    limb((0.20, 0.80), (0.26 + stride / 3, 0.48), 0.10, top * 0.85),
    ([(-0.19, 0.46), (0.19, 0.46), (0.23, 0.82), (0.10, 0.87), (-0.10, 0.87), (-0.23, 0.82)], top),
    (_circle(lean, 0.93, 0.115, 0.075), skin),
    (
      [(lean - 0.115, 0.93), (lean + 0.115, 0.93), (lean + 0.08, 1.0), (lean - 0.08, 1.0)],
      (0.15, 0.11, 0.09),
    ),
  ]
  faces = [shapes.outline(np.array(p) * (1, height) + (x, 0), z, c, PERSON) for p, c in parts]
  return shapes.Thing(z, faces, [shapes.Shadow(shapes.ring(x, z, 0.25), 0, height)])


def cyclist(rng: np.random.Generator, coats, x, z) -> shapes.Thing:
  """A bicycle with its rider, seen more or less from the side."""
  squeeze = rng.choice([-1, 1]) * rng.uniform(0.35, 1.0)  # how much of its length shows
  top, trousers = (np.array(coats[i]) for i in rng.integers(len(coats), size=2))
  frame = rng.uniform(0.1, 0.7, 3)
  skin = _SKINS[rng.integers(len(_SKINS))]
  wheels = [
    (_circle(a, 0.36, r, r), c)
    for a in (-0.55, 0.55)
    for r, c in ((0.37, _METAL), (0.26, (0.42, 0.42, 0.43)))
  ]
  parts = wheels + [
    limb((-0.55, 0.36), (-0.15, 0.85), 0.07, frame),
    limb((-0.15, 0.80), (0.42, 0.85), 0.07, frame),
    limb((0.55, 0.36), (0.42, 1.02), 0.07, frame),
    limb((-0.05, 0.36), (0.42, 0.85), 0.07, frame),
    limb((-0.12, 1.0), (0.10, 0.66), 0.19, trousers * 0.6),
    limb((0.10, 0.68), (0.0, 0.30), 0.15, trousers * 0.55),
    limb((-0.14, 0.92), (0.14, 1.48), 0.36, top),
    limb((0.14, 1.42), (0.42, 1.05), 0.11, top * 0.85),
    (_circle(0.22, 1.66, 0.14, 0.16), skin),
    (_circle(0.20, 1.73, 0.15, 0.10), frame),
  ]
  faces = [
    shapes.outline(np.array(p) * (1.08 * squeeze, 1.08) + (x, 0), z, c, BICYCLE) for p, c in parts
  ]
  return shapes.Thing(
    z, faces, [shapes.Shadow(shapes.rectangle(x - 0.6, x + 0.6, z - 0.2, z + 0.2), 0, 1.7)]
  )


def limb(start, end, width, color):
  """A thick line as (its four corners, color)."""
  start, end = np.array(start), np.array(end)
  across = (end - start)[::-1] * (-1, 1)
  across = across / np.linalg.norm(across) * width / 2
  return [start - across, end - across, end + across, start + across], color


def _circle(x, y, width, height):
  return shapes.ring(0, 0, 1, 9) * (width, height) + (x, y)
