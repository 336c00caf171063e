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


def house(rng: np.random.Generator, style, x, start, end, height, gable: bool) -> shapes.Thing:
  """A house along the street from z = start to end whose front stands at x."""
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
  faces = [
    shapes.upright(low, high, 0, height, start, wall, BUILDING, _texture(facade, deep, height, 0.35)),
    shapes.Face(np.array(corners, float), wall, BUILDING, _texture(facade, end - start, height, 1.0)),
  ]
  faces += _roof(x, back, start, end, height, roof, wall, gable, rng)
  rise = 0.3 * deep if gable else 0
  shadow = shapes.Shadow(shapes.rectangle(low, high, start, end), 0, height + rise / 2)
  return shapes.Thing(end, faces, [shadow])


def tower(rng: np.random.Generator, style, x, z, width, height) -> shapes.Thing:
  """A block of the distant skyline."""
  wall = np.array(style.walls[rng.integers(len(style.walls))]) * 0.9
  facade = Facade(wall, wall * 0.8, 3.2, 3.0, (0.5, 0.5), False, False, False, int(rng.integers(2**31)))
  texture = _texture(facade, width, height, 1.0)
  face = shapes.upright(x - width / 2, x + width / 2, 0, height, z, wall, BUILDING, texture)
  return shapes.Thing(z, [face])


def _roof(x, back, start, end, height, colour, wall, gable, rng) -> list[shapes.Face]:
  """A ridge along the street with the gable wall below it, or a flat roof's parapet; chimneys."""
  low, high, ridge = *sorted((x, back)), (x + back) / 2
  faces = []
  if gable:
    top = height + 0.3 * abs(back - x)
    eave = x - np.sign(x) * 0.4
    near, far = (start, end) if x > 0 else (end, start)
    slope = [(eave, height - 0.1, far), (eave, height - 0.1, near), (ridge, top, near), (ridge, top, far)]
    faces.append(shapes.outline([(low, height), (high, height), (ridge, top)], start, wall * 0.95, BUILDING))
    faces.append(shapes.Face(np.array(slope, float), colour, BUILDING))
    if rng.random() < 0.8:
      at = rng.uniform(start + 1, end - 1)
      faces += shapes.box(ridge - 0.5, ridge + 0.5, top - 0.6, top + 1.1, at - 0.5, at + 0.5, wall * 0.75, BUILDING)
  else:
    front = sorted((x - np.sign(x) * 0.25, x + np.sign(x) * 0.3))
    faces += shapes.box(*front, height - 0.25, height + 0.35, start, end, wall * 0.8, BUILDING)
  return faces


def _texture(facade: Facade, length: float, height: float, windows: float) -> shapes.Texture:
  """The facade's texture on a wall of length x height metres; a share of its axes has windows."""

  def draw(size, light):
    rng = np.random.default_rng(facade.seed)
    s = (np.arange(size[1]) + 0.5) * length / size[1]
    t = height - (np.arange(size[0]) + 0.5) * height / size[0]  # metres above ground
    wall = _wall(facade, s, t, rng)
    shine = _windows(facade, s, t, length, height, windows, wall, rng, light)
    image = np.dstack([np.clip(wall, 0, 1) + shine, np.ones(size)])
    return image.astype(np.float32)

  return draw


def _wall(facade: Facade, s, t, rng) -> np.ndarray:
  """Plaster or bricks, courses between the storeys, a plinth, dirt running down."""
  grain = noise.field(rng, 64, 1.0)
  stain = noise.sample(grain, *np.broadcast_arrays(s[None] * 6.0, t[:, None] * 2.5))
  tone = 1 + 0.035 * stain - 0.10 * (t[:, None] < 0.6) + 0.06 * (np.mod(t, facade.storey) < 0.2)[:, None]
  if facade.bricks:
    course = (t / 0.22).astype(int)[:, None]
    tone = tone + 0.10 * np.sin(course * 12.9 + (s[None] / 0.5 + 0.5 * (course % 2)).astype(int) * 78.2)
  return tone[..., None] * facade.wall


def _windows(facade, s, t, length, height, share, wall, rng, light) -> np.ndarray:
  """Draws windows and shop fronts into `wall`; returns the light [rows, columns, 3] they give off."""
  columns = max(int(length / facade.pitch), 1)
  pitch = length / columns
  storeys = max(int(height / facade.storey), 1)
  storey = height / storeys
  column, row = np.minimum(s / pitch, columns - 1).astype(int), np.minimum(t / storey, storeys - 1).astype(int)
  wide, tall = (1.0 if facade.ribbon else facade.glass[0]), facade.glass[1]
  has = rng.random((storeys, columns)) < share
  tint = rng.uniform(0.7, 1.3, (storeys, columns))
  lit = rng.random((storeys, columns))
  warm = np.array([(1.0, 0.78, 0.42), (0.95, 0.88, 0.68)])[rng.integers(2, size=(storeys, columns))]
  across, up = np.abs(s / pitch - column - 0.5), np.abs(t / storey - row - 0.55)
  if facade.shop:
    tall = np.where(row == 0, 0.72, tall)
    wide = np.where(row == 0, 0.92, wide)[:, None]
    has[0] = True
    fascia = (t > storey * 0.86) & (t < storey * 1.02)
    wall[fascia] = rng.uniform(0.1, 0.8, 3)
  cell = (row[:, None], column[None])  # the window each pixel is near
  frame = (across[None] < wide / 2 + 0.035) & (up < tall / 2 + 0.04)[:, None] & has[cell]
  glass = (across[None] < wide / 2) & (up < tall / 2)[:, None] & has[cell]
  wall[frame] = facade.trim
  sky = 0.30 * light.horizon * light.ambient + (0.10, 0.12, 0.14)
  pane = tint[cell][..., None] * sky * (0.8 + 0.35 * np.mod(t / storey, 1))[:, None, None]
  np.copyto(wall, pane, where=glass[..., None])
  burning = glass & (lit[cell] < light.windows)
  return burning[..., None] * warm[cell] * (0.75 * tint[cell][..., None])
