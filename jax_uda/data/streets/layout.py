"""Laying a street out: which things stand where. Nothing here knows about light."""

import numpy as np

from jax_uda.data.streets import camera as cameras
from jax_uda.data.streets import furniture, ground, houses, people, plants, shapes, vehicles
from jax_uda.data.streets.domains import Geometry

_END = 95.0  # metres; beyond it only the skyline is drawn


def camera(
  rng: np.random.Generator, style: Geometry, street: ground.Street, size
) -> cameras.Camera:
  """A camera in the right lane, for a canvas of `size` = (height, width)."""
  height, width = size
  return cameras.Camera(
    width=width,
    height=height,
    focal=rng.uniform(*style.focal) * max(width, 4 / 3 * height),
    horizon=rng.uniform(*style.horizon) * height,
    x=street.half * rng.uniform(0.25, 0.42),
    y=rng.uniform(*style.camera_height),
    yaw=rng.normal(-0.02, 0.035),
    roll=np.deg2rad(rng.uniform(-2, 2)),
    curve=rng.normal(0, 0.0007),
  )


def street(rng: np.random.Generator, style: Geometry) -> ground.Street:
  """The plan of a street."""
  start = rng.uniform(14, 45) if rng.random() < style.crossroad else 2 * cameras.FAR

  def color(choices):
    return np.array(choices[rng.integers(len(choices))]) * rng.uniform(0.92, 1.08)

  return ground.Street(
    half=rng.uniform(*style.half_road),
    walk=rng.uniform(*style.walk),
    verge=rng.uniform(0.6, 1.5) if rng.random() < style.verge else 0.0,
    crossing=(start, start + rng.uniform(6, 9)),
    lawn=rng.random() < 0.45,
    zebra=rng.random() < 0.6,
    centre=int(rng.choice(4, p=(0.1, 0.6, 0.15, 0.15))),
    edges=rng.random() < 0.35,
    lanes=rng.random() < style.lanes,
    asphalt=color(style.asphalt),
    paving=color(style.paving),
    grass=color(style.grass),
    paint=np.array((0.93, 0.93, 0.90)) if rng.random() < 0.85 else np.array((0.9, 0.72, 0.2)),
    wear=rng.uniform(*style.wear),
    patches=_patches(rng),
  )


def _patches(rng: np.random.Generator) -> np.ndarray:
  """Mended places in the road, [4, 5]: x, z, half width, half length, tone of each."""
  return rng.uniform((-5, 4, 0.3, 0.8, -0.13), (5, 40, 1.5, 5.0, 0.07), (4, 5))


def things(rng: np.random.Generator, style: Geometry, plan: ground.Street) -> list[shapes.Thing]:
  """Everything that stands in the street, the farthest first."""
  standing = _skyline(rng, style)
  for side in (-1, 1):
    standing += _plots(rng, style, plan, side)
    standing += _kerb(rng, style, plan, side)
    standing += _walkers(rng, style, plan, side)
  standing += _traffic(rng, style, plan)
  return sorted(standing, key=lambda thing: -thing.distance)


def _in_crossing(plan: ground.Street, z: float, margin: float = 0.0) -> bool:
  return plan.crossing[0] - margin < z < plan.crossing[1] + margin


def _skyline(rng, style) -> list[shapes.Thing]:
  """Towers and trees that close the view."""
  standing = []
  for x in np.arange(-130, 131, 26.0):
    z = rng.uniform(190, 260)
    if rng.random() < 0.5:
      standing.append(houses.tower(rng, style, x, z, rng.uniform(16, 32), rng.uniform(6, 26)))
    else:
      standing.append(plants.tree(rng, style.leaves, "round", x, z, rng.uniform(10, 18)))
  return standing


def _plots(rng, style, plan, side) -> list[shapes.Thing]:
  """House after house along one side, with gaps in which gardens lie."""
  standing, z, beside = [], rng.uniform(-8, 0), 0.0
  setback = rng.uniform(*style.setback)
  level = rng.uniform(*style.house_height)
  gap = style.house_gap * rng.uniform(0.3, 1.7)
  while z < _END:
    end = z + rng.uniform(7, 16)
    if _in_crossing(plan, z, 2) or _in_crossing(plan, end, 2) or z < plan.crossing[0] < end:
      z, beside = plan.crossing[1] + plan.walk + 0.5, 0.0
      if end > _END:
        break
      end = z + rng.uniform(7, 16)
    front = side * (plan.border + setback)
    if rng.random() < gap:
      standing += _garden(rng, style, side * plan.border, z, end)
      beside = 0.0
    else:
      height = level * rng.uniform(0.75, 1.25)
      gable = rng.random() < style.gables
      standing.append(houses.house(rng, style, front, z, end, height, gable, beside))
      beside = height
      if setback > 1.5 and rng.random() < 0.8:
        standing += _border(rng, style, side * (plan.border + 0.1), z, end)
    z = end
    if rng.random() < 0.25:
      z, beside = end + rng.uniform(1, 4), 0.0
  return standing


def _garden(rng, style, x, start, end) -> list[shapes.Thing]:
  """Trees behind a fence or a hedge."""
  standing = _border(rng, style, x + np.sign(x) * 0.1, start, end)
  for _ in range(rng.integers(1, 3)):
    away = x + np.sign(x) * rng.uniform(2, 8)
    standing.append(_tree(rng, style, away, rng.uniform(start, end)))
  return standing


def _border(rng, style, x, start, end) -> list[shapes.Thing]:
  """The fence or hedge between a plot and the sidewalk."""
  kind = style.fence_kinds[rng.integers(len(style.fence_kinds))]
  if rng.random() < 0.18:
    return [plants.hedge(rng, style.leaves, x, start, end)]
  color = {
    "bars": np.full(3, rng.choice([0.15, 0.85])),
    "boards": np.array((0.55, 0.40, 0.26)) * rng.uniform(0.7, 1.2),
    "wall": np.array(style.walls[rng.integers(len(style.walls))]) * 0.85,
  }[kind]
  return [furniture.fence(rng, x, start, end, kind, color)]


def _tree(rng, style, x, z) -> shapes.Thing:
  kind = style.tree_kinds[rng.integers(len(style.tree_kinds))]
  return plants.tree(rng, style.leaves, kind, x, z, rng.uniform(*style.tree_height))


def _kerb(rng, style, plan, side) -> list[shapes.Thing]:
  """Lamps, trees, signs and parked cars along the kerb of one side."""
  standing = []
  x = side * (plan.half + 0.45)
  grey = np.full(3, rng.uniform(0.35, 0.75))
  lamp_height, reach = rng.uniform(5.5, 8.0), rng.uniform(1.0, 2.2)
  for z in np.arange(rng.uniform(7, 26), 62, rng.uniform(20, 30)):
    if not _in_crossing(plan, z, 1):
      standing.append(furniture.lamp_post(x, z, lamp_height, reach, grey))
  if rng.random() < style.avenue:
    for z in np.arange(rng.uniform(7, 16), 75, rng.uniform(9, 16)):
      if rng.random() < 0.8 and not _in_crossing(plan, z, 3):
        standing.append(_tree(rng, style, x + side * 0.5, z + rng.uniform(-1, 1)))
  for z in rng.uniform(6, 60, rng.integers(2, 5)):
    if not _in_crossing(plan, z, 1):
      standing.append(furniture.road_sign(rng, x, z, grey))
  if plan.crossing[0] < 100 and rng.random() < 0.6:
    standing.append(furniture.traffic_light(rng, x, plan.crossing[0] - 0.5, grey))
  if rng.random() < 0.25:
    start = rng.uniform(5, 20)
    standing += [furniture.bollard(x, z, grey * 0.8) for z in np.arange(start, start + 12, 2.0)]
  if rng.random() < style.parked:
    standing += _parked(rng, style, plan, side)
  return standing


def _parked(rng, style, plan, side) -> list[shapes.Thing]:
  standing, z = [], rng.uniform(7, 22)
  end = z + rng.uniform(15, 50)
  while z < end:
    if not _in_crossing(plan, z, 6):
      kind = rng.choice(["hatchback", "saloon", "van"], p=(0.5, 0.42, 0.08))
      turn = 0.0 if side > 0 else np.pi
      standing.append(vehicles.vehicle(rng, style.cars, kind, side * (plan.half - 0.7), z, turn))
    z += rng.uniform(5.5, 9) + (10 if rng.random() < 0.3 else 0)
  return standing


def _traffic(rng, style, plan) -> list[shapes.Thing]:
  """Vehicles ahead, oncoming and across, cyclists at the kerb, somebody crossing."""
  standing = []
  for x, turn, first in ((plan.half * 0.33, 0.0, 9), (-plan.half * 0.33, np.pi, 9)):
    z = rng.uniform(first, 32)
    for _ in range(rng.integers(0, 5)):
      heavy = rng.random() < style.heavy
      kind = rng.choice(["van", "bus"] if heavy else ["hatchback", "saloon"])
      z += 4.0 * (kind == "bus")
      lane = x + rng.normal(0, 0.25)
      standing.append(vehicles.vehicle(rng, style.cars, kind, lane, z, turn + rng.normal(0, 0.03)))
      z += rng.uniform(9, 30)
  if plan.crossing[0] < 100 and rng.random() < 0.4:
    z, turn = sum(plan.crossing) / 2, rng.choice([-1, 1]) * np.pi / 2
    standing.append(vehicles.vehicle(rng, style.cars, "hatchback", rng.uniform(-12, 12), z, turn))
  for _ in range(rng.integers(0, 3)):
    x = rng.choice([-1, 1]) * (plan.half - rng.uniform(0.3, 1.0))
    standing.append(people.cyclist(rng, style.coats, x, rng.uniform(6, 26)))
  if rng.random() < 0.25:
    x, z = rng.uniform(-1, 1) * plan.half, rng.uniform(9, 25)
    standing.append(people.person(rng, style.coats, x, z))
  return standing


def _walkers(rng, style, plan, side) -> list[shapes.Thing]:
  """People on a sidewalk, alone or in pairs."""
  standing = []
  for _ in range(rng.integers(0, 5)):
    x = side * (plan.half + plan.verge + rng.uniform(0.3, 0.9) * plan.walk)
    z = rng.uniform(6, 35)
    for _ in range(rng.integers(1, 3)):
      standing.append(people.person(rng, style.coats, x, z))
      x, z = x + rng.uniform(-0.6, 0.6), z + rng.uniform(0.2, 0.8)
  return standing
