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
  asphalt: np.ndarray  # colours, RGB [3]
  paving: np.ndarray
  grass: np.ndarray
  paint: np.ndarray
  wear: float  # contrast of patches and stains

  @property
  def border(self) -> float:
    """Where the sidewalk ends, in metres from the middle."""
    return self.half + self.verge + self.walk


def paint(street: Street, camera: cameras.Camera, grain: np.ndarray):
  """Returns colours [H, W, 3], classes [H, W] uint8 (`SKY` above the horizon) and depth [H, W]."""
  x, z, depth = camera.ground()
  side = np.abs(x)
  start, end = street.crossing
  crossing = (z > start) & (z < end)
  corner = (z > start - street.walk) & (z < end + street.walk)  # sidewalk around the crossroad
  label = np.full(x.shape, VEGETATION if street.lawn else SIDEWALK, np.uint8)
  label[(side < street.border) | corner] = SIDEWALK
  label[(side < street.half + street.verge) & ~corner] = VEGETATION
  label[(side < street.half) | crossing] = ROAD
  label[depth >= cameras.FAR] = SKY

  pixel = np.maximum(depth / camera.focal, 0.01)  # metres across a pixel
  along = np.maximum(depth * pixel / camera.y, 0.01)  # and along the road
  fine = noise.sample(grain, x * 22, z * 22) * np.clip(9 / depth, 0, 1)
  coarse = noise.sample(grain, x * 3 + 90, z * 2)
  image = np.zeros((*x.shape, 3), np.float32)
  surfaces = {
    ROAD: street.asphalt * (1 + street.wear * (0.55 * fine + coarse)[..., None]),
    SIDEWALK: street.paving * (1 + 0.6 * street.wear * (fine + coarse) + _joints(street, x, z, pixel))[..., None],
    VEGETATION: street.grass * (1 + 0.10 * fine + 0.10 * coarse)[..., None],
  }
  for name, colour in surfaces.items():
    np.copyto(image, colour, where=(label == name)[..., None], casting="same_kind")
  marks = _marks(street, x, z, pixel, along) * (label == ROAD) * (0.9 + 0.10 * np.clip(coarse, -3, 1))
  image += marks[..., None] * (street.paint - image)
  kerb = _band(side, street.half, street.half + 0.22, pixel) * (label != ROAD) * 0.45
  image += kerb[..., None] * (np.float32(0.72) - image)
  return np.clip(image, 0, 1), label, depth


def _marks(street: Street, x, z, pixel, along) -> np.ndarray:
  """Coverage [H, W] of the road by paint."""
  side = np.abs(x)
  dashes = _band(np.mod(z, 8.0), 0.0, 3.4, along)
  clear = (z < street.crossing[0] - 5) | (z > street.crossing[1] + 5)
  middle = {
    0: 0.0,
    1: _band(side, -1, 0.09, pixel) * dashes,
    2: _band(side, -1, 0.09, pixel),
    3: _band(side, 0.08, 0.20, pixel),
  }[street.centre]
  lines = middle * clear
  if street.lanes:
    lines = lines + _band(np.abs(side - street.half / 2), -1, 0.08, pixel) * dashes * clear
  if street.edges:
    lines = lines + _band(street.half - side, 0.25, 0.40, pixel) * clear
  if street.zebra:
    before = street.crossing[0] - z
    bars = _band(np.mod(x, 1.1), 0.0, 0.55, pixel)
    lines = lines + bars * _band(before, 1.0, 4.0, along)
    lines = lines + _band(before, 5.2, 5.7, along) * (x * np.sign(street.half) > 0)
  return np.minimum(lines, 1)


def _joints(street: Street, x, z, pixel) -> np.ndarray:
  """Darkening [H, W] by the joints between paving slabs; they fade where pixels outgrow them."""
  joint = (np.mod(x, 0.8) < 0.07) | (np.mod(z, 0.8) < 0.07)
  return -0.22 * joint * np.clip(0.035 / pixel, 0, 1)


def _band(value, low, high, pixel) -> np.ndarray:
  """How much of a pixel around `value` lies between low and high; edges are one pixel wide."""
  return np.clip((value - low) / pixel + 0.5, 0, 1) * np.clip((high - value) / pixel + 0.5, 0, 1)
