"""Light: the sun and its shadows, the sky's colours, and the lamps of the night."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from jax_uda.data.streets import camera as cameras
from jax_uda.data.streets import classes, noise, shapes


class Light(NamedTuple):
  """What illuminates a scene. Colours are RGB [3]."""

  sun: np.ndarray  # [3] unit vector towards the sun, street coordinates
  direct: float  # the sun's share of the light on open ground
  ambient: np.ndarray  # the colour of daylight; its brightness falls at night
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


_MAP = (-24.0, 0.0, 8.0)  # the shadow map's first x and z in metres, its pixels per metre
_MAP_SIZE = (480, 384)  # rows along z, columns along x


def cast(
  light: Light, shadows: Sequence[shapes.Shadow], x: np.ndarray, z: np.ndarray
) -> np.ndarray:
  """Brightness [H, W, 1] of the ground at x, z [H, W]: cast shadows, and a soft one beneath things.

  Shadows are drawn into a plan of the street, which is then looked up for each pixel.
  """
  shift = -light.sun[[0, 2]] / light.sun[1]  # metres of shadow per metre of height
  plan = np.full((*_MAP_SIZE, 2), 255, np.uint8)
  sunlit, open_sky = np.ascontiguousarray(plan[..., 0]), np.ascontiguousarray(plan[..., 1])
  for shadow in shadows:
    if shadow.footprint[0, 1] > _MAP[1] + _MAP_SIZE[0] / _MAP[2]:
      continue
    if shadow.low < 0.5:
      _fill(open_sky, shadow.footprint)
    if light.direct > 0.02:
      _fill(
        sunlit, np.concatenate([shadow.footprint + h * shift for h in (shadow.low, shadow.high)])
      )
  plan = np.dstack([cv2.GaussianBlur(sunlit, (0, 0), 0.8), cv2.GaussianBlur(open_sky, (0, 0), 4)])
  place = ((x - _MAP[0]) * _MAP[2] - 0.5, (z - _MAP[1]) * _MAP[2] - 0.5)
  place = [np.clip(v, -9, 9999).astype(np.float32) for v in place]
  free = cv2.remap(plan, *place, cv2.INTER_LINEAR, borderValue=(255, 255)).astype(np.float32) / 255
  sunlit, open_sky = free[..., :1], free[..., 1:]
  return (1 - light.direct * (1 - sunlit)) * (0.5 + 0.5 * open_sky)


def _fill(plan: np.ndarray, points: np.ndarray) -> None:
  """Blackens the convex hull of street points [N, 2] in a plan of the street."""
  pixels = np.clip((points - _MAP[:2]) * _MAP[2] - 0.5, -4000, 4000)
  hull = cv2.convexHull(np.round(pixels * 16).astype(np.int32))
  cv2.fillConvexPoly(plan, hull, 0, shift=4)


def sky(light: Light, camera: cameras.Camera, grain: noise.Grain) -> np.ndarray:
  """The sky's colours [R, W, 3] in the upper rows, down to the horizon, clouds lying in a plane overhead."""
  rays = camera.rays()[: camera.skyline[1]]
  up = np.clip(rays[..., 1], 0, None)
  height = np.clip(up / 0.55, 0, 1)[..., None] ** 0.7
  colour = light.horizon + height * (light.zenith - light.horizon)
  far = 1 / (up + 0.12)
  cloud = noise.sample(grain.cloudy, 12 * rays[..., 0] * far + 40, 20 * far) * 0.6
  cloud += 0.35 * noise.sample(grain.cloudy, 50 * rays[..., 0] * far, 90 * far)
  cover = np.clip(1.6 * (cloud + 2.4 * light.clouds - 1.4), 0, 1) * np.clip(up * 9, 0.15, 1)
  bright = np.max(light.horizon) * (0.98 + 0.10 * cloud[..., None])
  return (colour + 0.8 * cover[..., None] * (np.clip(bright, 0, 1) - colour)).astype(np.float32)


def night(
  light: Light,
  camera: cameras.Camera,
  image: np.ndarray,
  label: np.ndarray,
  depth: np.ndarray,
  lamps: Sequence[tuple[float, float, float]],
) -> np.ndarray:
  """Illuminates surfaces [H, W, 3]: ambient light, the own head-lights' cone, pools of the lamps.

  What an image holds above 1 shines by itself and is added as it is; the sky keeps its colour.
  """
  if light.beam == 0 and light.lamps == 0:
    lit = np.minimum(image, 1) * light.ambient
  else:
    rays = camera.rays()
    own = np.exp(-((rays[..., 0] / 0.42) ** 2) - ((rays[..., 1] + 0.10) / 0.17) ** 2)
    received = (light.beam * own / (1 + (depth / 17) ** 2))[..., None] * np.float32(
      (1.0, 0.97, 0.88)
    )
    received += light.lamps * _pools(
      rays * depth[..., None], camera.view(np.array(lamps).reshape(-1, 3))
    )
    lit = np.minimum(image, 1) * (light.ambient + received)
  glow = np.maximum(image - 1, 0)
  bloom = cv2.GaussianBlur(glow, (0, 0), camera.focal / 40)
  lit = np.where((label == classes.SKY)[..., None], image, lit)
  lit = lit * (1 - np.minimum(glow, 1)) + glow + light.lamps * 1.2 * bloom
  return lit.astype(np.float32)


def _pools(points: np.ndarray, lamps: np.ndarray) -> np.ndarray:
  """The warm light [H, W, 3] that lamps [L, 3] shed on points [H, W, 3] below them (camera coordinates)."""
  lamps = lamps[np.argsort(lamps[:, 2])[:5]].astype(np.float32)
  strength = np.zeros(points.shape[:2], np.float32)
  for lamp in lamps:
    away = points - lamp
    distance = np.einsum("hwc,hwc->hw", away, away)
    strength += (away[..., 1] < 0.2) / (0.45 + distance / 22)
  return strength[..., None] * np.float32((1.0, 0.80, 0.52))
