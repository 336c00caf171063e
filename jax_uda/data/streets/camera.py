"""A pinhole camera above a street.

Street coordinates are metres: x to the right of the road's middle, y up, z ahead. Camera coordinates
have the same axes, seen from the lens. A bend of the road shifts the whole world sideways by
curve * z^2, so that everything is laid out on a straight street.
"""

from typing import NamedTuple

import numpy as np

NEAR = 0.6  # metres; nothing closer is drawn
FAR = 1000.0  # metres; the depth of the sky


class Camera(NamedTuple):
  """Where the lens is and how it looks; pixels are those of the canvas it draws on."""

  width: int
  height: int
  focal: float  # pixels
  horizon: float  # row of the vanishing line, pixels (a shifted lens: verticals stay vertical)
  x: float  # metres right of the road's middle
  y: float  # metres above the road
  yaw: float  # radians, to the right
  roll: float  # radians
  curve: float  # 1 / metres

  @property
  def skyline(self) -> tuple[int, int]:
    """The rows between which the horizon lies; more than one, as the camera may roll."""
    margin = abs(self.width * np.sin(self.roll))
    first, last = int(self.horizon - margin) - 1, int(self.horizon + margin) + 2
    return max(first, 0), min(last, self.height)

  def rotation(self) -> np.ndarray:
    """The matrix [3, 3] that turns street directions into camera directions."""
    cy, sy, cr, sr = np.cos(self.yaw), np.sin(self.yaw), np.cos(self.roll), np.sin(self.roll)
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])

  def view(self, points: np.ndarray) -> np.ndarray:
    """Street points [N, 3] in camera coordinates [N, 3]."""
    x, y, z = points.T
    bent = np.stack([x + self.curve * z * z - self.x, y - self.y, z], axis=1)
    return bent @ self.rotation().T

  def project(self, points: np.ndarray) -> np.ndarray:
    """Camera points [N, 3] in front of the lens as pixels [N, 2], (column, row)."""
    scale = self.focal / points[:, 2]
    return np.stack([self.width / 2 + scale * points[:, 0], self.horizon - scale * points[:, 1]], 1)

  def rays(self) -> np.ndarray:
    """Camera points at depth 1 behind the pixel centres, [H, W, 3] float32."""
    u = (np.arange(self.width) + 0.5 - self.width / 2) / self.focal
    v = (self.horizon - np.arange(self.height) - 0.5) / self.focal
    rays = np.ones((self.height, self.width, 3), np.float32)
    rays[..., 0], rays[..., 1] = u, v[:, None]
    return rays

  def ground(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Street x, z and depth [H, W] of the ground behind each pixel; depth is `FAR` above it."""
    direction = self.rays() @ self.rotation().astype(np.float32)
    down = np.maximum(-direction[..., 1], 1e-6)
    depth = np.minimum(self.y / down, FAR)
    z = depth * direction[..., 2]
    x = self.x + depth * direction[..., 0] - self.curve * z * z
    return x.astype(np.float32), z.astype(np.float32), depth.astype(np.float32)

  def footprint(self, depth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many metres of ground a pixel covers at `depth`: across the view and along it."""
    across = np.maximum(depth / np.float32(self.focal), 0.01)
    return across, np.maximum(depth * across / np.float32(self.y), 0.01)


def clip_near(points: np.ndarray, near: float = NEAR) -> np.ndarray:
  """The part [M, 3] of a camera-space polygon [N, 3] with z >= near (Sutherland-Hodgman); M may be 0."""
  kept = []
  for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
    if start[2] >= near:
      kept.append(start)
    if (start[2] >= near) != (end[2] >= near):
      crossing = start + (near - start[2]) / (end[2] - start[2]) * (end - start)
      crossing[2] = near  # exactly, whatever rounding says
      kept.append(crossing)
  return np.array(kept).reshape(-1, 3)
