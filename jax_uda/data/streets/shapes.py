"""Flat faces in street coordinates, and the few bodies that things are built of."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from jax_uda.data.streets import noise

Color = Sequence[float] | np.ndarray  # RGB in 0..1; a color above 1 shines by itself
Points = Sequence[tuple[float, float]] | Sequence[np.ndarray] | np.ndarray  # [N, 2]
# A texture draws itself: ((rows, columns), light, grain) -> [rows, columns, 4] float32 RGB and opacity.
# Its top left corner lies at the face's last point, its bottom edge runs from the first to the second.
Texture = Callable[[tuple[int, int], Any, noise.Grain], np.ndarray]


class Face(NamedTuple):
  """A flat polygon, counter-clockwise as seen from its visible side; with a texture a parallelogram."""

  points: np.ndarray  # [N, 3] metres
  color: Color
  label: int
  texture: Texture | None = None


class Shadow(NamedTuple):
  """A body that casts a shadow: a footprint [N, 2] of (x, z), from height `low` to `high` metres."""

  footprint: np.ndarray
  low: float
  high: float


class Thing(NamedTuple):
  """Something in the street. Things are painted from far to near, the faces of a thing in their order."""

  distance: float
  faces: list[Face]
  shadows: list[Shadow] = []
  lamp: tuple[float, float, float] | None = None  # where a street lamp hangs


def outline(points: Points, z: float, color: Color, label: int) -> Face:
  """The polygon of `points` [N, 2] (x, y) in the plane z, facing the viewer whatever their order."""
  corners = np.full((len(points), 3), z, float)
  corners[:, :2] = points
  (x, y), (after_x, after_y) = corners.T[:2], np.concatenate([corners[1:], corners[:1]]).T[:2]
  clockwise = x @ after_y < y @ after_x
  return Face(corners[::-1] if clockwise else corners, color, label)


def upright(x0, x1, y0, y1, z, color: Color, label: int, texture: Texture | None = None) -> Face:
  """A rectangle in the plane z, facing the viewer."""
  points = np.array([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], float)
  return Face(points, color, label, texture)


def disc(x, y, radius, z, color: Color, label: int, corners: int = 10) -> Face:
  """A regular polygon in the plane z, facing the viewer and standing on an edge."""
  return outline(ring(x, y, radius, corners, 0.5 - corners / 4), z, color, label)


def prism(profile: Points, x0, x1, color: Color, label: int) -> list[Face]:
  """The solid from x0 to x1 with the section `profile` [N, 2]: (z, y), first up the side facing the viewer."""
  n = len(profile)
  ends = np.empty((2, n, 3))  # left, right
  ends[..., 0] = [[x0], [x1]]
  ends[..., [2, 1]] = profile
  left, right = ends
  after = [*range(1, n), 0]
  strips = np.stack([left, right, right[after], left[after]], axis=1)
  return [Face(points, color, label) for points in (*strips, left, right[::-1])]


def box(x0, x1, y0, y1, z0, z1, color: Color, label: int) -> list[Face]:
  """A cuboid without its underside."""
  faces = prism([(z0, y0), (z0, y1), (z1, y1), (z1, y0)], x0, x1, color, label)
  return [face for i, face in enumerate(faces) if i != 3]


def place(faces: Sequence[Face], x: float, z: float, turn: float = 0.0) -> list[Face]:
  """Faces built around the origin, turned to the left by `turn` radians and moved to (x, z)."""
  cos, sin = np.cos(turn), np.sin(turn)
  matrix = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
  points = np.concatenate([face.points for face in faces]) @ matrix + (x, 0, z)
  placed, start = [], 0
  for face in faces:
    end = start + len(face.points)
    placed.append(Face(points[start:end], face.color, face.label, face.texture))
    start = end
  return placed


def rectangle(x0, x1, z0, z1) -> np.ndarray:
  """A footprint [4, 2]."""
  return np.array([(x0, z0), (x1, z0), (x1, z1), (x0, z1)], float)


def ring(x, z, radius, corners: int = 10, phase: float = 0.0) -> np.ndarray:
  """The corners [corners, 2] of a regular polygon; `phase` turns it, in corners."""
  angle = 2 * np.pi * (np.arange(corners) + phase) / corners
  points = np.empty((corners, 2))
  points[:, 0], points[:, 1] = x + radius * np.cos(angle), z + radius * np.sin(angle)
  return points
