"""Lamp posts, traffic lights, signs, bollards and fences. Their poles are a little thicker than real."""

import numpy as np

from jax_uda.data.streets import shapes
from jax_uda.data.streets.classes import FENCE, POLE, SIGN

_WHITE, _RED, _BLUE, _YELLOW = (
  (0.95, 0.95, 0.93),
  (0.80, 0.08, 0.10),
  (0.10, 0.25, 0.70),
  (0.95, 0.78, 0.1),
)

# Corners, colors from the border inwards, color of the pictogram.
_SIGNS = (
  (3, (_RED, _WHITE), None),
  (12, (_RED, _WHITE), None),
  (12, (_RED, _WHITE), (0.1, 0.1, 0.1)),
  (12, (_BLUE,), _WHITE),
  (8, (_RED,), _WHITE),
  (4, (_BLUE,), _WHITE),
  (4, (_YELLOW,), (0.1, 0.1, 0.1)),
)


def lamp_post(x, z, height, reach, color) -> shapes.Thing:
  """A street lamp whose arm reaches `reach` metres towards the middle of the road."""
  side = -np.sign(x)
  tip = x + side * reach
  low, high = sorted((x, tip))
  faces = _pole(x, z, height, 0.045, color)
  faces += shapes.box(low, high, height - 0.04, height + 0.04, z - 0.04, z + 0.04, color, POLE)
  left, right = sorted((tip, tip - side * 0.8))
  faces += shapes.box(left, right, height - 0.02, height + 0.14, z - 0.16, z + 0.16, color, POLE)
  burning = (1.95, 1.75, 1.35)
  faces.append(shapes.upright(left, right, height - 0.14, height, z - 0.17, burning, POLE))
  shadow = shapes.Shadow(shapes.ring(x, z, 0.12, 6), 0, height)
  return shapes.Thing(z, faces, [shadow], lamp=(tip, height, z))


def traffic_light(rng: np.random.Generator, x, z, color) -> shapes.Thing:
  """A signal head with one of its three lamps burning, on a pole."""
  height, burning = rng.uniform(2.9, 3.4), rng.integers(3)
  faces = _pole(x, z, height, 0.055, color)
  faces += shapes.box(
    x - 0.22, x + 0.22, height - 1.1, height, z - 0.2, z - 0.1, (0.06, 0.07, 0.07), SIGN
  )
  lamps = ((1.9, 0.15, 0.1), (1.8, 1.2, 0.1), (0.1, 1.7, 0.6))
  for i, lamp in enumerate(lamps):
    shown = lamp if i == burning else np.array(lamp) * 0.12
    faces.append(shapes.disc(x, height - 0.22 - 0.33 * i, 0.14, z - 0.21, shown, SIGN, 8))
  return shapes.Thing(z, faces, [shapes.Shadow(shapes.ring(x, z, 0.15, 6), 0, height)])


def road_sign(rng: np.random.Generator, x, z, color) -> shapes.Thing:
  """A warning, order or direction sign on a pole."""
  size, height = rng.uniform(0.38, 0.52), rng.uniform(2.3, 3.0)
  y, front = height - size, z - 0.12
  shape, colors, pictogram = _SIGNS[rng.integers(len(_SIGNS))]
  board = []
  for i, tint in enumerate(colors):
    scale = size * (1 - 0.34 * i)
    if shape == 4:
      wide = 1.6 * scale
      board.append(
        shapes.upright(x - wide, x + wide, y - scale * 0.8, y + scale * 0.8, front, tint, SIGN)
      )
    else:
      board.append(shapes.disc(x, y, scale * (1.2 if shape == 3 else 1), front, tint, SIGN, shape))
  if pictogram:
    low, high = y - size * 0.15, y + size * 0.2
    board.append(shapes.upright(x - size * 0.5, x + size * 0.5, low, high, front, pictogram, SIGN))
  faces = _pole(x, z, height, 0.035, color) + board
  return shapes.Thing(z, faces, [shapes.Shadow(shapes.ring(x, z, 0.2, 6), 0, height)])


def bollard(x, z, color) -> shapes.Thing:
  """A low post at the kerb."""
  faces = _pole(x, z, 1.0, 0.06, color)
  faces.append(shapes.upright(x - 0.08, x + 0.08, 0.72, 0.85, z - 0.08, _WHITE, POLE))
  return shapes.Thing(z, faces, [shapes.Shadow(shapes.ring(x, z, 0.12, 6), 0, 1.0)])


def fence(rng: np.random.Generator, x, start, end, kind: str, color) -> shapes.Thing:
  """Bars, boards or a wall along x between z = start and end, seen from the road; the whole panel is fence."""
  height = rng.uniform(0.95, 1.35) * (1.15 if kind == "boards" else 1.0)
  near, far = (start, end) if x > 0 else (end, start)
  # The visible side faces the road: counter-clockwise from there.
  points = np.array([(x, 0, far), (x, 0, near), (x, height, near), (x, height, far)], float)
  seed = int(rng.integers(2**31))
  length = end - start

  def texture(size, light, grain):
    del light, grain
    return _panel(kind, size, length, height, np.array(color), seed)

  face = shapes.Face(points, color, FENCE, texture)
  foot = shapes.rectangle(x - 0.1, x + 0.1, start, end)
  return shapes.Thing(
    end, [face], [shapes.Shadow(foot, 0, height * (0.4 if kind == "bars" else 1))]
  )


def _panel(
  kind: str, size, length: float, height: float, color: np.ndarray, seed: int
) -> np.ndarray:
  rows, columns = size
  s = ((np.arange(columns) + 0.5) * length / columns)[None]
  t = ((np.arange(rows) + 0.5) * height / rows)[:, None]
  image = np.ones((rows, columns, 4), np.float32)
  tone = np.random.default_rng(seed).uniform(0.85, 1.1, 64)
  if kind == "bars":
    solid = (np.mod(s, 0.28) < 0.12) | (t < 0.12) | (t > height - 0.2) | (np.mod(s, 2.5) < 0.2)
    image[..., :3] = np.where(solid[..., None], color, color * 0.45)
    image[..., 3] = np.where(solid, 1.0, 0.35)
  elif kind == "boards":
    board = tone[(s / 0.3).astype(int) % 64] * np.where(np.mod(s, 0.3) < 0.04, 0.6, 1)
    image[..., :3] = (board * np.ones_like(t))[..., None] * color
  else:
    course = (t / 0.25).astype(int)
    stone = tone[(7 * course + (s / 0.5 + 0.5 * (course % 2)).astype(int)) % 64]
    image[..., :3] = (stone * np.where(t < 0.13, 1.15, 0.95))[..., None] * color
  return image


def _pole(x, z, height, radius, color) -> list[shapes.Face]:
  """A square post: a lit front, and flanks that the camera sees from aside."""
  return shapes.box(x - radius, x + radius, 0, height, z - radius, z + radius, color, POLE)
