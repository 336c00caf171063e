"""Drawn streets: pure functions of (domain, seed, index) whose labels know nothing of light."""

import dataclasses

import numpy as np
import pytest

from jax_uda.data import streets
from jax_uda.data.streets import camera as cameras
from jax_uda.data.streets import canvas as canvases
from jax_uda.data.streets import noise, shapes
from jax_uda.data.streets.classes import CAR, ROAD, SKY

NAMES = sorted(streets.DOMAINS)
SHARES = {  # pixel shares of real streets, with room for the chance of 60 small scenes
  "sky": (0.15, 0.25),
  "building": (0.15, 0.25),
  "pole": (0.008, 0.028),  # never thinner than a pixel: more of them in a small image
  "road": (0.30, 0.38),
  "sidewalk": (0.02, 0.065),
  "vegetation": (0.07, 0.15),
  "sign": (0.004, 0.014),
  "fence": (0.006, 0.022),
  "car": (0.05, 0.095),
  "person": (0.004, 0.016),
  "bicycle": (0.002, 0.009),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_scene_is_a_function_of_domain_seed_and_index(name):
  forwards = [streets.draw(name, 5, i) for i in (0, 1)]
  backwards = [streets.draw(name, 5, i) for i in (1, 0)][::-1]
  for scene, again in zip(forwards, backwards, strict=True):
    for array, same in zip(scene, again, strict=True):
      np.testing.assert_array_equal(array, same)
  assert (forwards[0].image != forwards[1].image).any()
  assert (forwards[0].image != streets.draw(name, 6, 0).image).any()


@pytest.mark.parametrize("name", NAMES)
def test_shapes_types_and_values(name):
  scene = streets.draw(name, 0, 3)
  assert scene.image.shape == (96, 128, 3) and scene.image.dtype == np.uint8
  assert scene.label.shape == (96, 128) and scene.label.dtype == np.uint8
  assert scene.depth.shape == (96, 128) and scene.depth.dtype == np.float32
  assert scene.label.max() < len(streets.CLASSES) == len(streets.PALETTE)
  sky = scene.label == SKY
  assert (scene.depth[sky] == cameras.FAR).all() and (scene.depth[~sky] < cameras.FAR).all()
  assert scene.depth.min() > 0


@pytest.mark.parametrize("size", [(48, 64), (40, 120), (75, 51)])
def test_any_size_can_be_drawn(size):
  scene = streets.draw("day", 0, 0, size)
  assert scene.image.shape == (*size, 3) and scene.label.shape == scene.depth.shape == size
  assert {SKY, ROAD} <= set(np.unique(scene.label))


def test_a_larger_size_draws_the_same_scene():
  small, large = streets.draw("dusk", 2, 4, (96, 128)), streets.draw("dusk", 2, 4, (192, 256))
  assert (small.label == large.label[::2, ::2]).mean() > 0.9


@pytest.mark.parametrize("other", ["dusk", "night"])
def test_photometry_leaves_label_and_depth_alone(other):
  day = streets.DOMAINS["day"]
  moved = dataclasses.replace(day, photometry=streets.DOMAINS[other].photometry)
  for i in range(2):
    scene, relit = streets.draw("day", 1, i), streets.render(moved, 1, i, (96, 128))
    np.testing.assert_array_equal(scene.label, relit.label)
    np.testing.assert_array_equal(scene.depth, relit.depth)
    assert np.abs(scene.image.astype(int) - relit.image).mean() > 10


def test_domains_differ_in_what_stands_where():
  label = {name: streets.draw(name, 0, 0).label for name in NAMES}
  assert (label["day"] != label["dusk"]).mean() > 0.05
  assert (label["day"] != label["night"]).mean() > 0.05


@pytest.mark.parametrize("name", ["day", "dusk", "night"])
def test_class_shares_are_those_of_real_streets(name):
  labels = np.stack([streets.draw(name, 11, i, (48, 64)).label for i in range(60)])
  counts = np.bincount(labels.ravel(), minlength=len(streets.CLASSES)) / labels.size
  for share, (kind, (low, high)) in zip(counts, SHARES.items(), strict=True):
    assert low <= share <= high, f"{kind}: {share:.4f}"


def test_nights_are_dark_and_days_bright():
  mean = {
    n: [streets.draw(n, 0, i, (48, 64)).image.mean() for i in range(5)]
    for n in ("day", "dusk", "night")
  }
  assert np.mean(mean["day"]) > 100
  assert np.mean(mean["dusk"]) < np.mean(mean["day"])
  assert max(mean["night"]) < min(mean["day"])


def test_clipping_keeps_nothing_behind_the_near_plane():
  rng = np.random.default_rng(0)
  for _ in range(50):
    polygon = rng.uniform(-5, 5, (rng.integers(3, 6), 3))
    clipped = cameras.clip_near(polygon)
    assert clipped.shape[1] == 3 and (clipped[:, 2] >= cameras.NEAR).all()


def test_clipping_is_exact():
  square = np.array([(-1, 0, -3), (1, 0, -3), (1, 0, 5), (-1, 0, 5)], float)
  clipped = cameras.clip_near(square, near=1.0)
  np.testing.assert_allclose(np.sort(clipped[:, 2]), [1, 1, 5, 5])
  np.testing.assert_allclose(np.abs(clipped[:, 0]), 1)
  np.testing.assert_array_equal(cameras.clip_near(square + (0, 0, 9)), square + (0, 0, 9))
  assert cameras.clip_near(square - (0, 0, 9)).shape == (0, 3)


class FullLight:
  """Shades nothing."""

  lamps = 0.0

  def shade(self, normals):
    return np.ones(len(normals))


def painted(faces):
  camera = cameras.Camera(64, 48, 60.0, 24.0, x=0, y=1.5, yaw=0, roll=0, curve=0)
  blank = np.zeros((48, 64))
  canvas = canvases.Canvas(camera, np.zeros((48, 64, 3)), blank, blank + cameras.FAR)
  canvas.paint(faces, FullLight(), noise.grain(np.random.default_rng(0)))
  return canvas


def test_image_label_and_depth_share_one_outline():
  canvas = painted([shapes.upright(-1, 1, 0.5, 2.5, 6.0, (1, 0, 0), CAR)])
  inside = canvas.label() == CAR
  assert 300 < inside.sum() < 500  # 20 x 20 pixels
  np.testing.assert_array_equal(canvas.pixels[..., 0] == 1, inside)
  np.testing.assert_allclose(canvas.depth()[inside], 6.0, rtol=1e-5)
  assert (canvas.depth()[~inside] == cameras.FAR).all()


def test_faces_behind_the_camera_or_turned_away_vanish():
  front = shapes.upright(-1, 1, 0.5, 2.5, 6.0, (1, 0, 0), CAR)
  behind = front._replace(points=front.points * (1, 1, -1))
  away = front._replace(points=front.points[::-1])
  assert not painted([behind, away]).label().any()


def test_a_wall_that_passes_the_camera_is_cut_not_torn():
  points = np.array([(2, 0, 30), (2, 0, -20), (2, 3, -20), (2, 3, 30)], float)
  for texture in (None, lambda size, light, grain: np.ones((*size, 4), np.float32)):
    canvas = painted([shapes.Face(points, (1, 1, 1), CAR, texture)])
    drawn = canvas.label() == CAR
    assert drawn[:, -1].all() and not drawn[:, :35].any()
    assert (np.diff(drawn.sum(0)) >= 0).all()  # ever taller towards the viewer
    column = canvas.depth()[24, 45:]
    np.testing.assert_allclose(column, 60 * 2 / (np.arange(45, 64) + 0.5 - 32), rtol=1e-4)


def test_an_unknown_domain_is_an_error_that_helps():
  with pytest.raises(ValueError, match="Did you mean 'night'"):
    streets.draw("nihgt", 0, 0)
