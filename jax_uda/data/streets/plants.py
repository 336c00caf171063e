"""Trees and hedges: cards whose texture says, leaf by leaf, where the plant is and where there is a gap."""

import cv2
import numpy as np

from jax_uda.data.streets import noise, shapes
from jax_uda.data.streets.classes import VEGETATION

_CARD = 32  # pixels; crowns are modelled at this size at most and then drawn at any


def tree(rng: np.random.Generator, leaves, kind: str, x, z, height) -> shapes.Thing:
  """A "round", "tall", "fir" or "bare" tree."""
  color = np.array(leaves[rng.integers(len(leaves))]) * rng.uniform(0.85, 1.15)
  bark = np.array((0.30, 0.24, 0.19)) * rng.uniform(0.7, 1.1)
  width = (
    height * {"round": 0.85, "tall": 0.42, "fir": 0.55, "bare": 0.75}[kind] * rng.uniform(0.85, 1.1)
  )
  foot = height * {"round": 0.26, "tall": 0.10, "fir": 0.08, "bare": 0.25}[kind]
  trunk = 0.03 * height
  seed = int(rng.integers(2**31))

  def texture(size, light, grain):
    rng = np.random.default_rng(seed)
    if kind == "bare":
      return _branches(rng, size, bark)
    return _crown(rng, size, color, light, grain, kind)

  faces = [
    shapes.outline(
      [
        (x - trunk, 0),
        (x + trunk, 0),
        (x + trunk * 0.6, foot * 1.7),
        (x - trunk * 0.6, foot * 1.7),
      ],
      z,
      bark,
      VEGETATION,
    ),
    shapes.upright(
      x - width / 2, x + width / 2, foot, height, z - 0.05, color, VEGETATION, texture
    ),
  ]
  shadows = [shapes.Shadow(shapes.ring(x, z, trunk, 6), 0, foot * 1.5)]
  if kind != "bare":
    shadows.append(shapes.Shadow(shapes.ring(x, z, width * 0.38), foot * 1.2, height * 0.85))
  return shapes.Thing(z, faces, shadows)


def hedge(rng: np.random.Generator, leaves, x, start, end) -> shapes.Thing:
  """A hedge along x from z = start to end, seen from the road and from its near end."""
  height, color = rng.uniform(0.9, 1.6), np.array(leaves[rng.integers(len(leaves))])
  near, far = (start, end) if x > 0 else (end, start)
  points = np.array([(x, 0, far), (x, 0, near), (x, height, near), (x, height, far)], float)
  seed = int(rng.integers(2**31))

  def texture(size, light, grain):
    del light
    return _foliage(np.random.default_rng(seed), size, color, grain)

  left, right = sorted((x, x + np.sign(x) * 0.8))
  faces = [
    shapes.upright(left, right, 0, height, start, color * 0.8, VEGETATION, texture),
    shapes.Face(points, color, VEGETATION, texture),
  ]
  shadow = shapes.Shadow(shapes.rectangle(left, right, start, end), 0, height)
  return shapes.Thing(end, faces, [shadow])


def _crown(rng, size, color, light, grain, kind) -> np.ndarray:
  """Clumps of leaves: their outline frayed by noise, lit from the sun's side."""
  card = min(max(size), _CARD)
  y, x = ((np.mgrid[0:card, 0:card] + 0.5) / card).astype(np.float32)
  count = 7
  if kind == "round":
    angle, radius = rng.uniform(0, 2 * np.pi, count), np.sqrt(rng.uniform(0, 1, count)) * 0.30
    cx, cy, r = (
      0.5 + radius * np.cos(angle),
      0.48 + radius * np.sin(angle),
      rng.uniform(0.15, 0.24, count),
    )
  else:
    cy = np.linspace(0.14, 0.86, count)
    spread = cy if kind == "fir" else np.sin(np.pi * np.clip(cy, 0.2, 0.85))
    cx = 0.5 + rng.uniform(-0.16, 0.16, count) * spread
    r = (0.10 + 0.26 * spread) * rng.uniform(0.8, 1.1, count)
  dx, dy = (x - cx[:, None, None]) / r[:, None, None], (y - cy[:, None, None]) / r[:, None, None]
  inside = 1 - np.hypot(dx, dy * (2.2 if kind == "fir" else 1))  # [clumps, card, card]
  front = np.argmax(inside, 0)[None]
  facing = (
    light.sun[0] * np.take_along_axis(dx, front, 0) - 1.1 * np.take_along_axis(dy, front, 0)
  )[0]
  card = np.dstack([inside.max(0), 0.5 + 0.30 * facing + 0.25 * (0.5 - y)]).astype(np.float32)
  card = cv2.resize(card, size[::-1], interpolation=cv2.INTER_LINEAR)
  leaf = _leaves(rng, size, grain)
  bright = 0.42 + 0.62 * np.clip(card[..., 1], 0, 1) + 0.16 * leaf
  image = np.empty((*size, 4), np.float32)
  image[..., :3] = np.clip(bright, 0.15, 1.4)[..., None] * color
  image[..., 3] = card[..., 0] + 0.12 * leaf > 0.06
  return image


def _foliage(rng, size, color, grain) -> np.ndarray:
  """A wall of leaves with a frayed upper edge."""
  leaf = _leaves(rng, size, grain)
  t = ((np.arange(size[0]) + 0.5) / size[0])[:, None]
  image = np.empty((*size, 4), np.float32)
  image[..., :3] = (np.clip(1.05 - 0.45 * t + 0.20 * leaf, 0.2, 1.4))[..., None] * color
  image[..., 3] = t + 0.05 * leaf > 0.08
  return image


def _branches(rng, size, color) -> np.ndarray:
  """A leafless crown: a trunk that forks again and again."""
  rows, columns = size
  image = np.zeros((rows, columns, 4), np.float32)

  def grow(x, y, angle, length, depth):
    end = x + length * np.sin(angle), y - length * np.cos(angle)
    first, last = ((int(a * columns * 16), int(b * rows * 16)) for a, b in ((x, y), end))
    thickness = max(1, round(columns * 0.012 * depth))
    cv2.line(image, first, last, (*color.tolist(), 1.0), thickness, shift=4)
    for side in (-1, 1) if depth > 1 else ():
      bend = side * rng.uniform(0.2, 0.6)
      grow(*end, angle + bend, length * rng.uniform(0.68, 0.82), depth - 1)

  grow(0.5, 1.0, 0.0, 0.26, 6)
  return image


def _leaves(rng, size, grain) -> np.ndarray:
  """Noise [rows, columns] whose leaves keep their size relative to the plant."""
  step = min(72 / min(size), 1.0)
  rows, columns = (rng.integers(96) + step * np.arange(n) for n in size)
  return noise.cut(grain.leafy, rows, columns)
