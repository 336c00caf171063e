"""The domains: ranges from which streets, light and camera are drawn.

A pair (low, high) is a range, a single number a probability, a tuple of colors or names a choice. A
domain's geometry says what stands where and what it is made of; its photometry never touches a label.
"""

import dataclasses

import numpy as np

Range = tuple[float, float]
Colors = tuple[tuple[float, float, float], ...]


def _colors(text: str) -> Colors:
  """Hexadecimal RGB colors, separated by spaces, as numbers in 0..1."""
  channel = lambda color, i: int(color[i : i + 2], 16) / 255
  return tuple((channel(c, 0), channel(c, 2), channel(c, 4)) for c in text.split())


@dataclasses.dataclass(frozen=True)
class Geometry:
  """What a street looks like under neutral light; lengths in metres."""

  camera_height: Range
  focal: Range  # image widths
  horizon: Range  # image heights from the top
  half_road: Range
  walk: Range
  verge: float  # a strip of grass along the kerb
  crossroad: float
  lanes: float  # more than one lane each way
  house_height: Range
  house_gap: float  # a plot without a house
  gables: float
  ribbons: float  # windows in bands
  shops: float
  bricks: float
  setback: Range  # from the sidewalk to the houses
  tree_kinds: tuple[str, ...]
  tree_height: Range
  avenue: float  # a row of trees along a sidewalk
  fence_kinds: tuple[str, ...]
  heavy: float  # share of vans and buses
  parked: float  # a kerb with parked cars
  wear: Range  # contrast of stains on the ground
  texture: Range  # contrast of noise on everything
  walls: Colors
  roofs: Colors
  leaves: Colors
  asphalt: Colors
  paving: Colors
  grass: Colors
  cars: Colors
  coats: Colors


@dataclasses.dataclass(frozen=True)
class Photometry:
  """Light, air, lens and sensor."""

  elevation: Range  # degrees of the sun above the horizon
  direct: Range  # the sun's share of the light
  ambient: Range  # brightness of daylight
  tints: Colors  # its color
  zeniths: Colors
  horizons: Colors
  clouds: Range
  windows: Range  # share of lit windows
  beam: Range  # own head-lights
  lamps: Range  # street lamps and all other lights
  fog: Range  # extinction per metre
  wet: float  # a mirroring road
  blur: Range  # pixels at a width of 128
  gain: Range
  gamma: Range
  saturation: Range
  white: Range  # deviation of the channel gains
  vignette: Range
  noise: Range  # of 255
  jpeg: Range  # quality


@dataclasses.dataclass(frozen=True)
class Domain:
  """A name, which also seeds it, and its two halves."""

  name: str
  geometry: Geometry
  photometry: Photometry


_DAY_STREETS = Geometry(
  camera_height=(1.5, 1.9),
  focal=(0.85, 1.05),
  horizon=(0.43, 0.53),
  half_road=(4.0, 5.7),
  walk=(2.0, 3.4),
  verge=0.25,
  crossroad=0.5,
  lanes=0.3,
  house_height=(6, 14),
  house_gap=0.32,
  gables=0.55,
  ribbons=0.15,
  shops=0.3,
  bricks=0.15,
  setback=(0.0, 4.0),
  tree_kinds=("round", "round", "round", "fir"),
  tree_height=(5.0, 9.5),
  avenue=0.65,
  fence_kinds=("bars", "bars", "boards"),
  heavy=0.15,
  parked=0.6,
  wear=(0.02, 0.05),
  texture=(0.02, 0.06),
  walls=_colors("ecd9b0 e6b89c d98f6f c9d6c3 b7c9de f0e6d2 e8c36a d9a9a0 c8624a f2f0ea"),
  roofs=_colors("a84a36 8f3f30 b5623f 6b4a44 7a3b2e"),
  leaves=_colors("3f8f2f 57a036 2f7a34 6fae3c 4a8a2a"),
  asphalt=_colors("7c7c7a 868580 727375"),
  paving=_colors("c9bca4 bfb6a8 d0c4b4"),
  grass=_colors("6aa53c 7cb04a 5f9a38"),
  cars=_colors("c8281e 1f5fc0 f0f0f0 e8b81c 2a8a4a 1a1a1e a8b0b8 3c9ad0 d86a1c"),
  coats=_colors("d03838 2a58b8 e8c030 3c9a50 f0f0f0 303038 c86a9a 2aa0a8"),
)

_DUSK_STREETS = Geometry(
  camera_height=(1.2, 1.6),
  focal=(0.70, 0.90),
  horizon=(0.46, 0.57),
  half_road=(3.6, 5.4),
  walk=(1.8, 3.0),
  verge=0.15,
  crossroad=0.4,
  lanes=0.15,
  house_height=(6, 14.5),
  house_gap=0.37,
  gables=0.45,
  ribbons=0.35,
  shops=0.5,
  bricks=0.7,
  setback=(0.0, 2.0),
  tree_kinds=("tall", "round", "bare", "tall"),
  tree_height=(5.0, 11.0),
  avenue=0.65,
  fence_kinds=("wall", "wall", "bars"),
  heavy=0.35,
  parked=0.75,
  wear=(0.06, 0.16),
  texture=(0.08, 0.18),
  walls=_colors("8a4a3a 75453a 9a5a44 8c8880 75736e a09a90 6a5a50 b0a898"),
  roofs=_colors("4a4644 3c3a3e 5a4a44 43474c"),
  leaves=_colors("5f5a2e 6e6434 4c5230 74603a 565a38"),
  asphalt=_colors("4c5058 565a62 44484e"),
  paving=_colors("8e8a86 7e7c7a 989088"),
  grass=_colors("6a6a3a 5e6238 746c42"),
  cars=_colors("26282c 3c4046 6a6e72 8e9294 5a2a2a 2c3850 b4b4b0 4a4438"),
  coats=_colors("2a2c34 44403c 5c4038 34404c 6c6660 7a3030 4c5848"),
)

_NIGHT_STREETS = dataclasses.replace(
  _DUSK_STREETS,
  camera_height=(1.3, 1.8),
  focal=(0.75, 1.0),
  horizon=(0.44, 0.56),
  house_height=(6, 14.5),
  gables=0.3,
  ribbons=0.45,
  shops=0.6,
  bricks=0.4,
  tree_kinds=("round", "round", "tall", "bare"),
  wear=(0.04, 0.12),
  texture=(0.05, 0.14),
  walls=_colors("8a5a4a b09a80 8c8880 a09a90 c0b4a0 7a6a60 986a50"),
  leaves=_colors("4f6a2e 5e7034 3c5a30 647038"),
  cars=_colors("26282c 8e9294 d0d0d0 7a2a2a 2c3860 b4b4b0 4a4438"),
)

_DAY = Photometry(
  elevation=(40, 65),
  direct=(0.38, 0.52),
  ambient=(1.05, 1.15),
  tints=_colors("fffcf4 fff8ec fffefa"),
  zeniths=_colors("3f78d0 4a86d8 5a90dc"),
  horizons=_colors("b4d0f0 c4dcf2 a8c8ee"),
  clouds=(0.15, 0.6),
  windows=(0, 0),
  beam=(0, 0),
  lamps=(0, 0),
  fog=(0.0, 0.0015),
  wet=0.0,
  blur=(0.0, 0.35),
  gain=(0.95, 1.1),
  gamma=(0.95, 1.05),
  saturation=(1.0, 1.2),
  white=(0.0, 0.02),
  vignette=(0.0, 0.12),
  noise=(0, 2.5),
  jpeg=(85, 97),
)

_DUSK = Photometry(
  elevation=(50, 80),
  direct=(0.0, 0.08),
  ambient=(0.38, 0.56),
  tints=_colors("ffe4cc f0ecf4 ffecd8 e8ecf8"),
  zeniths=_colors("6e7280 7a747a 868080 626a7a"),
  horizons=_colors("b8a088 aca49e bca88c 9c9ca6 b09890"),
  clouds=(0.3, 0.8),
  windows=(0.08, 0.35),
  beam=(0.0, 0.25),
  lamps=(0.10, 0.4),
  fog=(0.004, 0.014),
  wet=0.5,
  blur=(0.3, 0.7),
  gain=(1.15, 1.5),
  gamma=(0.85, 1.05),
  saturation=(0.5, 0.85),
  white=(0.02, 0.05),
  vignette=(0.15, 0.4),
  noise=(3, 7),
  jpeg=(45, 75),
)

_NIGHT = Photometry(
  elevation=(50, 80),
  direct=(0.0, 0.0),
  ambient=(0.10, 0.20),
  tints=_colors("c0c8ff c8ccf8 d0d0f0"),
  zeniths=_colors("0c1022 10142a 080c1c"),
  horizons=_colors("1e2240 2a2840 242a48 322c3c"),
  clouds=(0.0, 0.5),
  windows=(0.12, 0.4),
  beam=(0.8, 1.5),
  lamps=(0.5, 1.0),
  fog=(0.0, 0.004),
  wet=0.3,
  blur=(0.2, 0.6),
  gain=(1.0, 1.3),
  gamma=(0.9, 1.05),
  saturation=(0.75, 1.0),
  white=(0.0, 0.04),
  vignette=(0.15, 0.4),
  noise=(4, 9),
  jpeg=(55, 85),
)


def _union(*halves):
  """Ranges that span those of `halves`; choices joined; probabilities averaged."""
  merged = {}
  for field in dataclasses.fields(halves[0]):
    values = [getattr(half, field.name) for half in halves]
    if isinstance(values[0], float | int):
      merged[field.name] = float(np.mean(values))
    elif isinstance(values[0][0], float | int):
      merged[field.name] = (min(v[0] for v in values), max(v[1] for v in values))
    else:
      merged[field.name] = sum(values, ())
  return dataclasses.replace(halves[0], **merged)


_WIDE_STREETS = _union(_DAY_STREETS, _DUSK_STREETS, _NIGHT_STREETS)
_WIDE = dataclasses.replace(
  _union(_DAY, _DUSK),
  direct=(0.0, 0.6),
  fog=(0.0, 0.006),
  wet=0.1,
  gain=(0.55, 1.2),
  gamma=(0.75, 1.5),
  saturation=(0.35, 1.0),
  noise=(1, 8),
)

DOMAINS = {
  domain.name: domain
  for domain in (
    Domain("day", _DAY_STREETS, _DAY),
    Domain("dusk", _DUSK_STREETS, _DUSK),
    Domain("night", _NIGHT_STREETS, _NIGHT),
    Domain("wide", _WIDE_STREETS, _WIDE),
  )
}
