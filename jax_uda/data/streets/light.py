"""Light: the sun and its shadows, the sky's colors, and the lamps of the night."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from jax_uda.data.streets import camera as cameras
from jax_uda.data.streets import classes, noise, shapes


class Light(NamedTuple):
  """The light of a scene. Colors are RGB [3]."""

  sun: np.ndarray  # [3] unit vector towards the sun, street coordinates
  direct: float  # the sun's share of the light on open ground
  ambient: np.ndarray  # the color of daylight; its brightness falls at night
  zenith: np.ndarray
  horizon: np.ndarray
  clouds: float  # share of the sky
  windows: float  # share of lit windows
  beam: float  # strength of the own head-lights
  lamps: float  # strength of the street lamps, and of all light sources in the picture

  def shade(self, normals: np.ndarray) -> np.ndarray:
    """Brightness [N] of surfaces with the normals [N, 3], relative to sunlit ground."""
    sky = (1 - self.direct) * (0.86 + 0.14 * normals[:, 1])
    return np.clip(sky + 1.25 * self.direct * np.maximum(normals @ self.sun, 0), 0.08, 1)


# The plan of the street into which shadows are drawn.
_MAP_ORIGIN = (-24.0, 0.0)  # its first x and z in metres
_MAP_SCALE = 8.0  # pixels per metre
_MAP_SHAPE = (480, 384)  # rows along z, columns along x


def cast(light: Light, shadows: Sequence[shapes.Shadow], x, z) -> np.ndarray:
  """Brightness [H, W, 1] of the ground at x, z [H, W]: cast shadows, and a soft one beneath things."""
  shift = -light.sun[[0, 2]] / light.sun[1]  # metres of shadow per metre of height
  sunlit, open_sky = np.full((2, *_MAP_SHAPE), 255, np.uint8)
  for shadow in shadows:
    if shadow.footprint[0, 1] > _MAP_ORIGIN[1] + _MAP_SHAPE[0] / _MAP_SCALE:
      continue
    if shadow.low < 0.5:
      _fill(open_sky, shadow.footprint)
    if light.direct > 0.02:
      swept = [shadow.footprint + height * shift for height in (shadow.low, shadow.high)]
      _fill(sunlit, np.concatenate(swept))
  plan = np.dstack([cv2.GaussianBlur(sunlit, (0, 0), 0.8), cv2.GaussianBlur(open_sky, (0, 0), 4)])
  place = ((v - o) * _MAP_SCALE - 0.5 for v, o in zip((x, z), _MAP_ORIGIN, strict=True))
  columns, rows = (np.clip(v, -9, 9999).astype(np.float32) for v in place)
  free = cv2.remap(plan, columns, rows, cv2.INTER_LINEAR, borderValue=(255, 255))
  free = free.astype(np.float32) / 255
  return (1 - light.direct * (1 - free[..., :1])) * (0.5 + 0.5 * free[..., 1:])


def _fill(plan: np.ndarray, points: np.ndarray) -> None:
  """Blackens the convex hull of street points [N, 2] in a plan of the street."""
  pixels = np.clip((points - _MAP_ORIGIN) * _MAP_SCALE - 0.5, -4000, 4000)
  hull = cv2.convexHull(np.round(pixels * 16).astype(np.int32))
  cv2.fillConvexPoly(plan, hull, 0, shift=4)


def sky(light: Light, camera: cameras.Camera, grain: noise.Grain) -> np.ndarray:
  """The sky's colors [R, W, 3] in the upper rows, down to the horizon, clouds lying in a plane overhead."""
  rays = camera.rays()[: camera.skyline[1]]
  up = np.clip(rays[..., 1], 0, None)
  height = np.clip(up / 0.55, 0, 1)[..., None] ** 0.7
  color = light.horizon + height * (light.zenith - light.horizon)
  far = 1 / (up + 0.12)
  cloud = noise.sample(grain.cloudy, 12 * rays[..., 0] * far + 40, 20 * far) * 0.6
  cloud += 0.35 * noise.sample(grain.cloudy, 50 * rays[..., 0] * far, 90 * far)
  cover = np.clip(1.6 * (cloud + 2.4 * light.clouds - 1.4), 0, 1) * np.clip(up * 9, 0.15, 1)
  bright = np.max(light.horizon) * (0.98 + 0.10 * cloud[..., None])
  return (color + 0.8 * cover[..., None] * (np.clip(bright, 0, 1) - color)).astype(np.float32)


def illuminate(light: Light, camera: cameras.Camera, image, label, depth, lamps) -> np.ndarray:
  """Lights surfaces [H, W, 3]: by daylight, the own head-lights' cone and the pools of the `lamps`.

  Values above 1 in an image shine by themselves, whatever light falls on them; the sky keeps its color.
  """
  if light.beam == 0 and light.lamps == 0:
    return np.where((label == classes.SKY)[..., None], image, image * light.ambient)
  rays = camera.rays()
  cone = np.exp(-((rays[..., 0] / 0.42) ** 2) - ((rays[..., 1] + 0.10) / 0.17) ** 2)
  beam = light.beam * cone / (1 + (depth / 17) ** 2)
  received = light.ambient + beam[..., None] * np.array((1.0, 0.97, 0.88), np.float32)
  hung = camera.view(np.array(lamps).reshape(-1, 3))
  received += light.lamps * _pools(rays * depth[..., None], hung)
  glow = np.maximum(image - 1, 0)
  lit = np.where((label == classes.SKY)[..., None], image, np.minimum(image, 1) * received)
  return (
    lit * (1 - np.minimum(glow, 1)) + glow + light.lamps * 1.2 * _bloom(glow, camera.focal / 40)
  )


def _bloom(glow: np.ndarray, deviation: float) -> np.ndarray:
  """Light [H, W, 3] scattered by the lens; so smooth that a quarter of the resolution will do."""
  small = cv2.resize(glow, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
  return cv2.resize(cv2.GaussianBlur(small, (0, 0), deviation / 4), glow.shape[1::-1])


def _pools(points: np.ndarray, lamps: np.ndarray) -> np.ndarray:
  """The warm light [H, W, 3] that lamps [L, 3] shed on points [H, W, 3] below them (camera coordinates)."""
  lamps = lamps[np.argsort(lamps[:, 2])[:5]].astype(np.float32)
  strength = np.zeros(points.shape[:2], np.float32)
  for lamp in lamps:
    away = points - lamp
    distance = np.einsum("hwc,hwc->hw", away, away)
    strength += (away[..., 1] < 0.2) / (0.45 + distance / 22)
  return strength[..., None] * np.array((1.0, 0.80, 0.52), np.float32)
