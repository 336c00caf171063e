"""From surfaces to a photograph: texture, wet road, fog, lens and sensor. Labels are only read."""

from typing import NamedTuple

import cv2
import numpy as np

from jax_uda.data.streets import light as lights
from jax_uda.data.streets import noise
from jax_uda.data.streets.classes import ROAD, SKY
from jax_uda.data.streets.domains import Photometry


class Air(NamedTuple):
  """The air between scene and lens, and a wet road."""

  fog: float  # extinction per metre
  wet: float  # strength of the road's mirror


class Sensor(NamedTuple):
  """Lens, sensor and compression."""

  blur: float  # deviation as a share of the width
  gain: np.ndarray  # RGB [3]
  gamma: float
  saturation: float
  vignette: float
  noise: float  # in units of full scale
  jpeg: int


def draw(rng: np.random.Generator, ranges: Photometry) -> tuple[lights.Light, Air, Sensor]:
  """Draws light, air and sensor."""

  def pick(choices):
    return np.array(choices[rng.integers(len(choices))], np.float32)

  up = np.deg2rad(rng.uniform(*ranges.elevation))
  around = np.pi * rng.uniform(0.95, 2.05)  # to the left, behind the camera or to the right
  light = lights.Light(
    sun=np.array([np.cos(up) * np.cos(around), np.sin(up), np.cos(up) * np.sin(around)]),
    direct=rng.uniform(*ranges.direct),
    ambient=pick(ranges.tints) * rng.uniform(*ranges.ambient),
    zenith=pick(ranges.zeniths),
    horizon=pick(ranges.horizons),
    clouds=rng.uniform(*ranges.clouds),
    windows=rng.uniform(*ranges.windows),
    beam=rng.uniform(*ranges.beam),
    lamps=rng.uniform(*ranges.lamps),
  )
  air = Air(fog=rng.uniform(*ranges.fog), wet=rng.uniform(0.4, 0.8) * (rng.random() < ranges.wet))
  sensor = Sensor(
    blur=rng.uniform(*ranges.blur) / 128,
    gain=rng.uniform(*ranges.gain) * (1 + rng.uniform(*ranges.white) * rng.normal(size=3)),
    gamma=rng.uniform(*ranges.gamma),
    saturation=rng.uniform(*ranges.saturation),
    vignette=rng.uniform(*ranges.vignette),
    noise=rng.uniform(*ranges.noise) / 255,
    jpeg=int(rng.uniform(*ranges.jpeg)),
  )
  return light, air, sensor


def roughen(
  image: np.ndarray, numbers: np.ndarray, contrast: float, grain: noise.Grain
) -> np.ndarray:
  """Multiplies the surfaces of an image [H, W, 3] by noise, its pattern shifted from surface to surface."""
  rows, columns = np.mgrid[0 : image.shape[0], 0 : image.shape[1]].astype(np.float32)
  rows, columns = (v * (400 / image.shape[1]) for v in (rows, columns))
  shift = 37.7 * (numbers % 61), 91.3 * (numbers % 67)
  texture = noise.sample(grain.cloudy, columns + shift[0], rows + shift[1])
  factor = np.where(numbers > 0, 1 + contrast * texture, 1)[..., None]
  return np.minimum(image, 1) * np.clip(factor, 0.4, 1.6) + np.maximum(image - 1, 0)


def mirror(image, label, depth, wet: float, grain, x, z) -> np.ndarray:
  """Lets the road mirror the things beyond it, column by column; the flatter the view, the stronger."""
  height, width = label.shape
  rows = np.arange(height)[:, None]
  foot = np.maximum.accumulate(np.where(label == ROAD, -1, rows), axis=0)
  source = np.clip(2 * foot - rows, 0, height - 1)
  mirrored = image[source, np.arange(width)[None]]
  mirrored = cv2.blur(mirrored, (max(width // 128, 1), max(height // 16, 1)))
  puddles = np.clip(0.55 + 0.5 * noise.sample(grain.cloudy, x * 5, np.minimum(z, 300) * 2.5), 0, 1)
  road = label == ROAD
  share = (wet * puddles * np.clip(depth / 14, 0.2, 1) * (road & (foot >= 0)))[..., None]
  darker = 1 - 0.25 * wet * road[..., None]  # water fills the pores
  return image * darker * (1 - share) + mirrored * share


def fog(image, label, depth, extinction: float, color: np.ndarray) -> np.ndarray:
  """Fades distant surfaces towards the color of the horizon. The sky is hazy already."""
  clear = np.where(label == SKY, 1, np.exp(-extinction * depth))[..., None]
  return image * clear + color * (1 - clear)


def expose(rng: np.random.Generator, image: np.ndarray, sensor: Sensor) -> np.ndarray:
  """Exposes an image [H, W, 3]: blur, color, vignette, noise and JPEG, then uint8."""
  height, width = image.shape[:2]
  deviation = sensor.blur * width
  if deviation > 0.15:
    image = cv2.GaussianBlur(image, (0, 0), deviation)
  grey = image.mean(axis=-1, keepdims=True)
  image = (grey + sensor.saturation * (image - grey)) * sensor.gain
  y, x = np.linspace(-1, 1, height)[:, None], np.linspace(-1, 1, width)[None]
  image = image * (1 - sensor.vignette * (x * x + y * y) / 2)[..., None]
  image = np.clip(image, 0, 1) ** sensor.gamma
  image = image + sensor.noise * rng.standard_normal(image.shape, np.float32)
  image = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
  _, code = cv2.imencode(".jpg", image[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, sensor.jpeg))
  decoded = cv2.imdecode(code, cv2.IMREAD_COLOR)
  assert decoded is not None  # it has just been encoded
  return np.ascontiguousarray(decoded[..., ::-1])
