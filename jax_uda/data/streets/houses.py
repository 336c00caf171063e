"""Houses: a facade with windows and shops, the wall of the near end, and a roof."""

from typing import NamedTuple

import numpy as np

from jax_uda.data.streets import noise, shapes
from jax_uda.data.streets.classes import BUILDING


class Facade(NamedTuple):
  """How a wall is divided; lengths in metres."""

  wall: np.ndarray  # RGB [3]
  trim: np.ndarray
  storey: float
  pitch: float  # from window to window
  glass: tuple[float, float]  # a window's share of pitch and storey
  ribbon: bool  # windows in unbroken bands
  shop: bool
  bricks: bool
  seed: int


def house(
  rng: np.random.Generator, style, x, start, end, height, gable: bool, beside: float
) -> shapes.Thing:
  """A house from z = start to end whose front stands at x, behind a neighbour of height `beside`."""
  wall = np.array(style.walls[rng.integers(len(style.walls))]) * rng.uniform(0.88, 1.08)
  roof = np.array(style.roofs[rng.integers(len(style.roofs))]) * rng.uniform(0.85, 1.1)
  facade = Facade(
    wall=np.clip(wall, 0, 1),
    trim=np.clip(wall * rng.choice([0.72, 1.25]) + 0.05, 0, 1),
    storey=rng.uniform(2.8, 3.4),
    pitch=rng.uniform(1.9, 3.2),
    glass=(rng.uniform(0.38, 0.6), rng.uniform(0.45, 0.62)),
    ribbon=rng.random() < style.ribbons,
    shop=rng.random() < style.shops,
    bricks=rng.random() < style.bricks,
    seed=int(rng.integers(2**31)),
  )
  side, deep = np.sign(x), rng.uniform(8, 12)
  back = x + side * deep
  near, far = (start, end) if side > 0 else (end, start)
  corners = [(x, 0, far), (x, 0, near), (x, height, near), (x, height, far)]
  low, high = sorted((x, back))
  faces = []
  if beside < height:
    texture = _texture(facade, deep, height, 0.35)
    faces.append(shapes.upright(low, high, 0, height, start, wall, BUILDING, texture))
  texture = _texture(facade, end - start, height, 1.0)
  faces.append(shapes.Face(np.array(corners, float), wall, BUILDING, texture))
  faces += _roof(x, back, start, end, height, roof, wall, gable, rng)
  rise = 0.3 * deep if gable else 0
  shadow = shapes.Shadow(shapes.rectangle(low, high, start, end), 0, height + rise / 2)
  return shapes.Thing(end, faces, [shadow])


def tower(rng: np.random.Generator, style, x, z, width, height) -> shapes.Thing:
  """A block of the distant skyline."""
  wall = np.array(style.walls[rng.integers(len(style.walls))]) * 0.9
  facade = Facade(
    wall, wall * 0.8, 3.2, 3.0, (0.5, 0.5), False, False, False, int(rng.integers(2**31))
  )
  texture = _texture(facade, width, height, 1.0)
  face = shapes.upright(x - width / 2, x + width / 2, 0, height, z, wall, BUILDING, texture)
  return shapes.Thing(z, [face])


def _roof(x, back, start, end, height, color, wall, gable, rng) -> list[shapes.Face]:
  """A ridge along the street with the gable wall below it, or a flat roof's parapet; chimneys."""
  low, high, ridge = *sorted((x, back)), (x + back) / 2
  faces = []
  if gable:
    top = height + 0.3 * abs(back - x)
    eave = x - np.sign(x) * 0.4
    near, far = (start, end) if x > 0 else (end, start)
    slope = [
      (eave, height - 0.1, far),
      (eave, height - 0.1, near),
      (ridge, top, near),
      (ridge, top, far),
    ]
    faces.append(
      shapes.outline([(low, height), (high, height), (ridge, top)], start, wall * 0.95, BUILDING)
    )
    faces.append(shapes.Face(np.array(slope, float), color, BUILDING))
    if rng.random() < 0.8:
      at = rng.uniform(start + 1, end - 1)
      faces += shapes.box(
        ridge - 0.5, ridge + 0.5, top - 0.6, top + 1.1, at - 0.5, at + 0.5, wall * 0.75, BUILDING
      )
  else:
    left, right = sorted((x - np.sign(x) * 0.25, x + np.sign(x) * 0.3))
    top, bottom = height + 0.35, height - 0.25
    faces += shapes.box(left, right, bottom, top, start, end, wall * 0.8, BUILDING)
  return faces


def _texture(facade: Facade, length: float, height: float, windows: float) -> shapes.Texture:
  """The facade's texture on a wall of length x height metres; a share of its places has windows."""

  def draw(size, light, grain):
    rng = np.random.default_rng(facade.seed)
    s = (np.arange(size[1], dtype=np.float32) + 0.5) * (length / size[1])
    t = height - (np.arange(size[0], dtype=np.float32) + 0.5) * (height / size[0])  # above ground
    wall = _wall(facade, s, t, grain)
    columns, storeys = max(int(length / facade.pitch), 1), max(int(height / facade.storey), 1)
    across, up = s * (columns / length), t * (storeys / height)  # measured in windows and storeys
    has = rng.random((storeys, columns)) < windows
    if facade.shop:
      has[0] = True
      wall[(up > 0.86) & (up < 1)] = rng.uniform(0.1, 0.8, 3)  # the name board
    row, column = (np.clip(v.astype(int), 0, n - 1) for v, n in ((up, storeys), (across, columns)))
    outside = _outside(facade, across - column, up - row, row)
    outside[~has[row][:, column]] = 1
    np.copyto(wall, facade.trim, where=(outside < 0.04)[..., None], casting="same_kind")
    panes = _panes(rng, has.shape, light)[row]
    panes = np.where(panes > 1, panes, panes * (0.8 + 0.35 * np.mod(up, 1))[:, None, None])
    np.copyto(wall, panes[:, column], where=(outside < 0)[..., None])
    image = np.ones((*size, 4), np.float32)
    image[..., :3] = wall
    return image

  return draw


def _wall(facade: Facade, s, t, grain) -> np.ndarray:
  """Plaster or bricks, courses between the storeys, a plinth, dirt running down: [rows, columns, 3]."""
  tone = 1 + 0.035 * noise.cut(grain.cloudy, t * 5 + facade.seed % 97, s * 12 + facade.seed % 89)
  level = -0.10 * (t < 0.6) + 0.06 * (np.mod(t, facade.storey) < 0.2)
  tone += level[:, None]
  if facade.bricks:
    course = (t / 0.22).astype(int)[:, None]
    brick = (s[None] / 0.5 + 0.5 * (course % 2)).astype(int)
    sharp = min(len(t) / (14 * t[0] + 0.01), 1.0)  # bricks smaller than pixels blend
    tone += 0.10 * sharp * np.sin(course * 12.9 + brick * 78.2)
  return np.clip(tone[..., None] * facade.wall.astype(np.float32), 0, 1)


def _outside(facade: Facade, across, up, row) -> np.ndarray:
  """How far outside a pane each pixel is, in windows or storeys; negative within one.

  `across` [columns] and `up` [rows] are the places in 0..1 within window and storey `row` [rows].
  """
  wide, tall = 1.0 if facade.ribbon else facade.glass[0], facade.glass[1]
  if facade.shop:  # the ground floor has shop windows
    wide, tall = np.where(row == 0, 0.92, wide)[:, None], np.where(row == 0, 0.72, tall)
  return np.maximum(np.abs(across - 0.5) - wide / 2, (np.abs(up - 0.55) - tall / 2)[:, None])


def _panes(rng, shape: tuple[int, int], light) -> np.ndarray:
  """The colors [storeys, windows, 3] of glass that mirrors the sky, or of a lit room behind it (above 1)."""
  tint = rng.uniform(0.7, 1.3, (*shape, 1))
  dark = tint * (0.30 * light.horizon * light.ambient + (0.10, 0.12, 0.14))
  warm = np.array([(1.0, 0.72, 0.34), (0.95, 0.84, 0.58)])[rng.integers(2, size=shape)]
  lit = rng.random((*shape, 1)) < light.windows
  return np.where(lit, 1 + 0.52 * tint * warm, dark).astype(np.float32)
