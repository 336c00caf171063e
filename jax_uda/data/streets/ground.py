"""The ground: road, sidewalks, verges, their markings and textures, computed pixel by pixel."""

from typing import NamedTuple

import numpy as np

from jax_uda.data.streets import camera as cameras
from jax_uda.data.streets import noise
from jax_uda.data.streets.classes import ROAD, SIDEWALK, SKY, VEGETATION


class Street(NamedTuple):
  """The plan of the street in metres; it runs along z with its middle at x = 0."""

  half: float  # half the road's width
  walk: float  # width of a sidewalk
  verge: float  # width of the grass between road and sidewalk; 0 for none
  crossing: tuple[float, float]  # from .. to of the crossroad; beyond `camera.FAR` for none
  lawn: bool  # grass, rather than pavement, behind the sidewalks
  zebra: bool
  centre: int  # 0 none, 1 dashed, 2 solid, 3 double
  edges: bool  # lines along the road's borders
  lanes: bool  # dashed lines in the middle of each half
  asphalt: np.ndarray  # colors, RGB [3]
  paving: np.ndarray
  grass: np.ndarray
  paint: np.ndarray
  wear: float  # contrast of stains
  patches: np.ndarray  # [P, 5] (x, z, half width, half length, tone) of mended places

  @property
  def border(self) -> float:
    """Where the sidewalk ends, in metres from the middle."""
    return self.half + self.verge + self.walk


def paint(street: Street, x, z, depth, pixel, grain: noise.Grain) -> tuple[np.ndarray, np.ndarray]:
  """Returns the colors [H, W, 3] and classes [H, W] uint8 of the ground; `SKY` from `camera.FAR` on.

  Args:
    street: The plan.
    x: Where each pixel meets the ground, metres [H, W].
    z: The same along the street.
    depth: Its depth in metres.
    pixel: (metres across, metres along) that a pixel covers there, [H, W] each.
    grain: Noise.
  """
  side = np.abs(x)
  label = _classes(street, side, z, depth)
  across, along = pixel
  near = np.minimum(z, 300)  # noise is looked up in a limited range
  fine = noise.sample(grain.cloudy, x * 22, near * 22) * np.clip(9 / depth, 0, 1)
  coarse = noise.sample(grain.cloudy, x * 3 + 90, near * 2)
  # One brightness and one color for each class.
  stains = street.wear * (0.55 * fine + coarse)
  road = stains - 0.05 * np.exp(
    -(((np.abs(side - street.half / 3) - 0.75) / 0.4) ** 2)
  )  # wheel tracks
  for middle, ahead, half, reach, tone in street.patches:
    road += tone * ((np.abs(x - middle) < half) & (np.abs(z - ahead) < reach))
  tone = np.select(
    [label == ROAD, label == SIDEWALK],
    [1 + road, 1 + 0.6 * stains + _joints(x, z, across)],
    1 + 0.10 * (fine + coarse),
  )
  colors = np.zeros((label.max() + 1, 3), np.float32)
  for name, color in (
    (ROAD, street.asphalt),
    (SIDEWALK, street.paving),
    (VEGETATION, street.grass),
  ):
    colors[name : name + 1] = color
  image = colors[label] * tone[..., None].astype(np.float32)
  marks = (
    _marks(street, x, z, across, along) * (label == ROAD) * (0.9 + 0.10 * np.clip(coarse, -3, 1))
  )
  image += marks[..., None] * (street.paint - image)
  kerb = _band(side, street.half, street.half + 0.22, across) * (label != ROAD) * 0.45
  image += kerb[..., None] * (0.72 - image)
  return np.clip(image, 0, 1), label


def _classes(street: Street, side, z, depth) -> np.ndarray:
  """The class [H, W] of the ground at |x| = side and z."""
  start, end = street.crossing
  corner = (z > start - street.walk) & (z < end + street.walk)  # sidewalk around the crossroad
  label = np.full(side.shape, VEGETATION if street.lawn else SIDEWALK, np.uint8)
  label[(side < street.border) | corner] = SIDEWALK
  label[(side < street.half + street.verge) & ~corner] = VEGETATION
  label[(side < street.half) | ((z > start) & (z < end))] = ROAD
  label[depth >= cameras.FAR] = SKY
  return label


def _marks(street: Street, x, z, across, along) -> np.ndarray:
  """Coverage [H, W] of the road by paint."""
  side = np.abs(x)
  dashes = _band(np.mod(z, 8.0), 0.0, 3.4, along)
  clear = (z < street.crossing[0] - 5) | (z > street.crossing[1] + 5)
  middle = {
    0: 0.0,
    1: _band(side, -1, 0.09, across) * dashes,
    2: _band(side, -1, 0.09, across),
    3: _band(side, 0.08, 0.20, across),
  }[street.centre]
  lines = middle * clear
  if street.lanes:
    lines = lines + _band(np.abs(side - street.half / 2), -1, 0.08, across) * dashes * clear
  if street.edges:
    lines = lines + _band(street.half - side, 0.25, 0.40, across) * clear
  if street.zebra:
    before = street.crossing[0] - z
    bars = _band(np.mod(x, 1.1), 0.0, 0.55, across)
    lines = lines + bars * _band(before, 1.0, 4.0, along)
    lines = lines + _band(before, 5.2, 5.7, along) * (x > 0)
  return np.minimum(lines, 1)


def _joints(x, z, pixel) -> np.ndarray:
  """Darkening [H, W] by the joints between paving slabs; they fade where pixels outgrow them."""
  joint = (np.mod(x, 0.8) < 0.07) | (np.mod(z, 0.8) < 0.07)
  return -0.22 * joint * np.clip(0.035 / pixel, 0, 1)


def _band(value, low, high, pixel) -> np.ndarray:
  """How much of a pixel around `value` lies between low and high; edges are one pixel wide."""
  return np.clip((value - low) / pixel + 0.5, 0, 1) * np.clip((high - value) / pixel + 0.5, 0, 1)
