"""One scene from start to end: lay out, paint, light, photograph."""

import zlib
from typing import NamedTuple

import cv2
import numpy as np

from jax_uda.data.streets import canvas as canvases
from jax_uda.data.streets import ground, layout, noise, photometry
from jax_uda.data.streets import light as lights
from jax_uda.data.streets.classes import SKY
from jax_uda.data.streets.domains import Domain

_OVERSAMPLING = 2


class Scene(NamedTuple):
  """A drawn street."""

  image: np.ndarray  # [H, W, 3] uint8 RGB
  label: np.ndarray  # [H, W] uint8, an index into CLASSES
  depth: np.ndarray  # [H, W] float32, metres; the sky has `camera.FAR`


def render(domain: Domain, seed: int, index: int, size: tuple[int, int]) -> Scene:
  """Draws scene `index` of `seed`; label and depth depend on `domain.name` and `domain.geometry` only."""
  streams = (seed, index, zlib.crc32(domain.name.encode()))
  geometry, photo, texture = (np.random.default_rng((*streams, part)) for part in range(3))
  grain = noise.grain(texture)
  light, air, sensor = photometry.draw(photo, domain.photometry)
  plan = layout.street(geometry, domain.geometry)
  camera = layout.camera(geometry, domain.geometry, plan, [_OVERSAMPLING * n for n in size])
  contrast = geometry.uniform(*domain.geometry.texture)
  things = layout.things(geometry, domain.geometry, plan)

  canvas = canvases.Canvas(camera, *_background(camera, plan, things, light, grain))
  canvas.paint([face for thing in things for face in thing.faces], light, grain)

  label, depth, image = canvas.label(), canvas.depth(), canvas.pixels[..., :3]
  image = photometry.roughen(image, canvas.numbers(), contrast, grain)
  lamps = [thing.lamp for thing in things if thing.lamp]
  image = lights.illuminate(light, camera, image, label, depth, lamps)
  if air.wet:
    image = photometry.mirror(image, label, depth, air.wet, grain, *camera.ground()[:2])
  image = photometry.fog(image, label, depth, air.fog, light.horizon)
  image = cv2.resize(image.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
  point = np.s_[::_OVERSAMPLING, ::_OVERSAMPLING]
  return Scene(photometry.expose(photo, image, sensor), label[point].copy(), depth[point].copy())


def _background(camera, plan, things, light, grain) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Colors [H, W, 3], classes [H, W] and depth [H, W] of the sky, and of the ground with its shadows."""
  x, z, depth = camera.ground()
  colors, label = np.zeros((*depth.shape, 3), np.float32), np.full(depth.shape, SKY, np.uint8)
  first, last = camera.skyline
  x, z, near = x[first:], z[first:], depth[first:]
  colors[first:], label[first:] = ground.paint(plan, x, z, near, camera.footprint(near), grain)
  shadows = [shadow for thing in things for shadow in thing.shadows]
  colors[first:] *= lights.cast(light, shadows, x, z)
  above = lights.sky(light, camera, grain)
  np.copyto(colors[:last], above, where=(label[:last] == SKY)[..., None])
  return colors, label, depth
