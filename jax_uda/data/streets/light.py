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
    sky = (1 - self.direct) * (0.78 + 0.22 * normals[:, 1])
    return np.clip(sky + 1.1 * self.direct * np.maximum(normals @ self.sun, 0), 0.08, 1)


def cast(light: Light, camera: cameras.Camera, shadows: Sequence[shapes.Shadow]) -> np.ndarray:
  """Brightness [H, W, 1] of the ground under shadows and, in any light, close beneath things."""
  steep = light.sun[[0, 2]] / light.sun[1]
  sunlit = _fill(camera, shadows, -steep, camera.focal / 250)
  near = [s for s in shadows if s.low < 0.5]
  open_sky = _fill(camera, near, np.zeros(2), camera.focal / 60)
  return (1 - light.direct * (1 - sunlit)) * (0.55 + 0.45 * open_sky)


def _fill(camera, shadows, shift, blur) -> np.ndarray:
  """1 - the shadows [H, W, 1] of things swept along `shift` metres per metre of height."""
  free = np.full((camera.height, camera.width), 255, np.uint8)
  for shadow in shadows:
    swept = np.concatenate([shadow.footprint + h * shift for h in (shadow.low, shadow.high)])
    hull = cv2.convexHull(swept.astype(np.float32))[:, 0]
    points = camera.view(np.column_stack([hull[:, 0], np.zeros(len(hull)), hull[:, 1]]))
    points = cameras.clip_near(points)
    if len(points):
      pixels = np.clip((camera.project(points) - 0.5) * 16, -(2**20), 2**20)
      cv2.fillPoly(free, [np.round(pixels).astype(np.int32)], 0, shift=4)
  return cv2.GaussianBlur(free, (0, 0), max(blur, 0.3)).astype(np.float32)[..., None] / 255


def sky(light: Light, camera: cameras.Camera, grain: np.ndarray) -> np.ndarray:
  """The sky's colours [H, W, 3] behind every pixel, clouds lying in a plane overhead."""
  rays = camera.rays()
  up = np.clip(rays[..., 1], 0, None)
  height = np.clip(up / 0.55, 0, 1)[..., None] ** 0.7
  colour = light.horizon + height * (light.zenith - light.horizon)
  far = 1 / (up + 0.12)
  cloud = noise.sample(grain, 12 * rays[..., 0] * far + 40, 20 * far) * 0.6
  cloud += 0.35 * noise.sample(grain, 50 * rays[..., 0] * far, 90 * far)
  cover = np.clip(1.6 * (cloud + 2.4 * light.clouds - 1.4), 0, 1) * np.clip(up * 9, 0.15, 1)
  bright = np.max(light.horizon) * (0.98 + 0.10 * cloud[..., None])
  return colour + 0.8 * cover[..., None] * (np.clip(bright, 0, 1) - colour)


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
    received = (light.beam * own / (1 + (depth / 17) ** 2))[..., None] * (1.0, 0.97, 0.88)
    pools = np.zeros_like(depth)
    points = rays * depth[..., None] @ camera.rotation().astype(np.float32)
    for lamp in camera.view(np.array(lamps).reshape(-1, 3)) @ camera.rotation():
      away = points - lamp.astype(np.float32)
      pools += 9 / (5 + np.einsum("hwc,hwc->hw", away, away)) * (away[..., 1] < 0.2)
    received = received + light.lamps * pools[..., None] * np.array((1.0, 0.80, 0.52))
    lit = np.minimum(image, 1) * (light.ambient + received)
  glow = np.maximum(image - 1, 0)
  bloom = cv2.GaussianBlur(glow, (0, 0), camera.focal / 40)
  lit = np.where((label == classes.SKY)[..., None], image, lit)
  return (lit + glow + light.lamps * 1.2 * bloom).astype(np.float32)
