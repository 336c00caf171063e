"""Cars, vans and buses: prisms with windows, lights and wheels."""

import numpy as np

from jax_uda.data.streets import shapes
from jax_uda.data.streets.classes import CAR

_GLASS = (0.16, 0.20, 0.24)
_TYRE = (0.07, 0.07, 0.08)
_CHROME = (0.55, 0.55, 0.56)
_TAIL = (1.75, 0.12, 0.08)
_HEAD = (2.3, 2.15, 1.75)
_PLATES = ((0.95, 0.85, 0.25), (0.92, 0.92, 0.90))

# Profiles (z, y) in shares of length and height, front at +1/2: the body, the cabin.
_HATCHBACK = (
  [(-0.5, 0.15), (-0.5, 0.56), (0.28, 0.60), (0.49, 0.48), (0.5, 0.15)],
  [(-0.48, 0.56), (-0.36, 1.0), (0.08, 1.0), (0.30, 0.59)],
)
_SALOON = (
  [(-0.5, 0.16), (-0.5, 0.58), (0.25, 0.62), (0.49, 0.50), (0.5, 0.16)],
  [(-0.34, 0.58), (-0.20, 1.0), (0.08, 1.0), (0.26, 0.61)],
)
_VAN = (
  [(-0.5, 0.14), (-0.5, 0.50), (0.36, 0.50), (0.49, 0.40), (0.5, 0.14)],
  [(-0.5, 0.50), (-0.49, 1.0), (0.20, 1.0), (0.38, 0.49)],
)
_BUS = (
  [(-0.5, 0.10), (-0.5, 0.42), (0.5, 0.42), (0.5, 0.10)],
  [(-0.5, 0.42), (-0.5, 1.0), (0.49, 1.0), (0.5, 0.42)],
)
_KINDS = {  # profiles, length, width, height
  "hatchback": (*_HATCHBACK, 3.9, 1.75, 1.48),
  "saloon": (*_SALOON, 4.5, 1.8, 1.42),
  "van": (*_VAN, 5.0, 2.0, 2.2),
  "bus": (*_BUS, 10.5, 2.55, 3.1),
}


def vehicle(rng: np.random.Generator, colors, kind: str, x, z, turn=0.0) -> shapes.Thing:
  """A vehicle around (x, z), driving towards z = oo, turned to the left by `turn` radians."""
  body, cabin, length, width, height = _KINDS[kind]
  length, width, height = np.array((length, width, height)) * rng.uniform(0.94, 1.08, 3)
  paint = np.array(colors[rng.integers(len(colors))]) * rng.uniform(0.85, 1.1)
  plate = _PLATES[rng.integers(len(_PLATES))]
  size, half = np.array([length, height]), width / 2
  faces = shapes.box(
    -half * 0.94, half * 0.94, 0.06, 0.3, -length * 0.44, length * 0.44, _TYRE, CAR
  )
  faces += shapes.prism(np.array(body) * size, -half, half, paint, CAR)
  rails = shapes.prism(np.array(cabin) * size, -half * 0.9, half * 0.9, paint * 0.93, CAR)
  faces += rails + _windows(rails, 4 if kind == "bus" else 2)
  faces += _ends(length, half, height, plate)
  if z < 40:
    faces = _treads(length, half) + faces + _wheels(length, half, height)
  reach = max(abs(np.sin(turn)) * length, abs(np.cos(turn)) * width) / 2
  depth = max(abs(np.cos(turn)) * length, abs(np.sin(turn)) * width) / 2
  foot = shapes.rectangle(x - reach, x + reach, z - depth, z + depth)
  return shapes.Thing(z - depth, shapes.place(faces, x, z, turn), [shapes.Shadow(foot, 0, height)])


def _windows(cabin: list[shapes.Face], count: int) -> list[shapes.Face]:
  """Panes in the back, front and flanks of a cabin; the flanks have `count` each."""
  back, _, front, _, left, right = cabin
  panes = [_inset(face.points, 0.84, 0.74) for face in (back, front)]
  for flank in (left, right):
    # Flank points: back bottom, back top, front top, front bottom (or the reverse).
    a, b, c, d = _inset(flank.points, 0.90, 0.76)
    cuts = np.linspace(0, 1, count + 1)
    for s, e in zip(cuts[:-1] + 0.02, cuts[1:] - 0.02, strict=True):
      panes.append(np.array([a + s * (d - a), b + s * (c - b), b + e * (c - b), a + e * (d - a)]))
  return [shapes.Face(points, _GLASS, CAR) for points in panes]


def _inset(points: np.ndarray, along: float, across: float) -> np.ndarray:
  """A polygon shrunk in its plane: by `along` horizontally, by `across` vertically."""
  centre = points.mean(0)
  return centre + (points - centre) * (along, across, along)


def _ends(length, half, height, plate) -> list[shapes.Face]:
  """Lights, plates, bumpers and grille: at the back (-z) and, turned around, at the front."""
  y = min(0.40 * height, 0.85)
  faces = []
  for turn, light in ((0.0, _TAIL), (np.pi, _HEAD)):
    z = -length / 2 - 0.01
    end = [shapes.upright(-half, half, 0.2, 0.33, z, (0.14, 0.14, 0.15), CAR)]
    if turn:
      end.append(
        shapes.upright(-half * 0.5, half * 0.5, y - 0.12, y + 0.04, z, (0.1, 0.1, 0.1), CAR)
      )
    for x in (-half * 0.78, half * 0.78):
      end.append(shapes.upright(x - 0.2, x + 0.2, y - 0.1, y + 0.12, z, light, CAR))
    end.append(shapes.upright(-0.28, 0.28, y - 0.22, y - 0.04, z - 0.01, plate, CAR))
    faces += shapes.place(end, 0, 0, turn)
  return faces


def _wheels(length, half, height) -> list[shapes.Face]:
  """Tyres and hubs on both flanks."""
  radius = 0.32 if height < 2 else 0.42
  faces = []
  for turn in (np.pi / 2, -np.pi / 2):
    flank = []
    for x in (-0.3 * length, 0.3 * length):
      flank.append(shapes.disc(x, radius, radius, -half - 0.02, _TYRE, CAR))
      flank.append(shapes.disc(x, radius, radius * 0.5, -half - 0.03, _CHROME, CAR, 6))
    faces += shapes.place(flank, 0, 0, turn)
  return faces


def _treads(length, half) -> list[shapes.Face]:
  """Tyres as seen from the ends, below the body."""
  faces = []
  for x in (-half + 0.15, half - 0.15):
    faces += shapes.box(x - 0.14, x + 0.14, 0, 0.3, -0.38 * length, 0.38 * length, _TYRE, CAR)
  return faces
