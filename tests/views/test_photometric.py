"""The color changes of MMSegmentation and of torchvision, against formulas of other libraries."""

import colorsys

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, assert_close, golden

from jax_uda.common.registry import SettingError
from jax_uda.models.encoders import imagenet
from jax_uda.ops import pixels
from jax_uda.views import color, confeti, photometric, torchvision_color
from jax_uda.views.torchvision_color import Jitter

pytestmark = pytest.mark.fast
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 9, 11, 3), dtype=np.uint8)
# Brightness, contrast, saturation, steps of the hue, contrast first: each alone, then together.
CHANGES = (
  (20.0, 1.0, 1.0, 0, True),
  (0.0, 1.5, 1.0, 0, False),
  (0.0, 1.0, 0.5, 0, False),
  (0.0, 1.0, 1.0, 17, True),
  (-32.0, 1.4, 1.5, -18, True),
  (-32.0, 1.4, 1.5, -18, False),
)


def reference(image, brightness, contrast, saturation, steps, first, dtype):
  """MMSegmentation's distortion with OpenCV's HSV: of whole numbers as there, or of floats."""
  whole = dtype is np.uint8
  hue_turn, full = (180, 255) if whole else (360, 1)

  def convert(x, alpha=1.0, beta=0.0, largest=255):
    return np.clip(x.astype(np.float32) * alpha + beta, 0, largest).astype(dtype)

  image = convert(image, beta=brightness)
  if first:
    image = convert(image, alpha=contrast)
  hsv = cv2.cvtColor(image if whole else image / np.float32(255), cv2.COLOR_RGB2HSV)
  hsv[..., 1] = convert(hsv[..., 1], alpha=saturation, largest=full)
  hsv[..., 0] = (hsv[..., 0].astype(np.float32) + steps * hue_turn / 180) % hue_turn
  image = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * (1 if whole else np.float32(255))
  return image if first else convert(image, alpha=contrast)


def distorted():
  shift, contrast, saturation, steps, first = (np.array(x) for x in zip(*CHANGES, strict=True))
  draws = photometric.PhotometricDraws(
    brightness=jnp.asarray(shift / 255, jnp.float32),
    contrast=jnp.asarray(contrast, jnp.float32),
    saturation=jnp.asarray(saturation, jnp.float32),
    hue=jnp.asarray(steps / 180, jnp.float32),
    contrast_first=jnp.asarray(first),
  )
  return 255 * np.asarray(photometric.distort(jnp.asarray(IMAGES / 255, jnp.float32), draws))


def test_the_distortion_is_that_of_mmsegmentation_but_for_rounding():
  for image, change, actual in zip(IMAGES, CHANGES, distorted(), strict=True):
    expected = reference(image.astype(np.float32), *change, np.float32)
    np.testing.assert_allclose(actual, expected, atol=0.02, err_msg=str(change))
    whole = reference(image, *change, np.uint8).astype(np.float32)
    # Steps of 2 degrees of the hue, and three times cut off to whole numbers.
    assert np.abs(actual - whole).mean() < 2.5 and np.abs(actual - whole).max() < 20, change


def test_draws_of_the_distortion_have_the_published_ranges():
  draws = photometric.draw(jax.random.key(0), 4000)
  for name, none, least, largest in (
    ("brightness", 0, -32 / 255, 32 / 255),
    ("contrast", 1, 0.5, 1.5),
    ("saturation", 1, 0.5, 1.5),
    ("hue", 0, -18 / 180, 17 / 180),
  ):
    values = np.asarray(getattr(draws, name))
    changed = values[values != none]
    assert changed.min() == pytest.approx(least, abs=2e-3), name
    assert changed.max() == pytest.approx(largest, abs=2e-3), name
    # Of the 36 steps of the hue, one changes nothing.
    assert len(changed) / len(values) == pytest.approx(0.5, abs=0.04), name
  assert draws.contrast_first.mean() == pytest.approx(0.5, abs=0.03)


def torchvision_operation(image, operation, factor):
  """One operation of torchvision on an image [H,W,3] of float64, with Python's own HSV."""
  grey = image @ np.array([0.2989, 0.587, 0.114])
  if operation == color.HUE:
    pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3)]
    turned = [colorsys.hsv_to_rgb((h + factor) % 1, s, v) for h, s, v in pixels]
    return np.array(turned).reshape(image.shape)
  other = {color.BRIGHTNESS: 0.0, color.CONTRAST: grey.mean(), color.SATURATION: grey[..., None]}
  return np.clip(factor * image + (1 - factor) * other[operation], 0, 1)


def test_the_jitter_is_that_of_torchvision():
  draws = torchvision_color.draw(jax.random.key(1), len(IMAGES), Jitter(probability=1.0))
  actual = torchvision_color.jitter(jnp.asarray(IMAGES / 255, jnp.float32), draws)
  for index, image in enumerate(IMAGES / 255):
    for operation in np.asarray(draws.color.order[index]):
      factor = float(draws.color.factors[index, operation])
      image = torchvision_operation(image, operation, factor)
    np.testing.assert_allclose(actual[index], image, atol=1e-5)


def test_gates_are_per_image_and_leave_the_others_as_they_are():
  # The kernel of the blur is a tenth of the image.
  images = jnp.asarray(np.tile(IMAGES / 255, (1, 5, 5, 1)), jnp.float32)
  draws = torchvision_color.draw(jax.random.key(2), 6, Jitter(probability=1.0))
  blur = torchvision_color.draw_blur(jax.random.key(3), 6, 1.0)
  some = jnp.arange(6) % 2 == 0
  for result in (
    torchvision_color.jitter(images, draws.replace(happens=some)),
    torchvision_color.gaussian_blur(images, blur.replace(happens=some)),
  ):
    changed = (np.asarray(result) != np.asarray(images)).any((1, 2, 3))
    np.testing.assert_array_equal(changed, some)
  many = torchvision_color.draw(jax.random.key(4), 4000, Jitter(probability=0.9))
  assert many.happens.mean() == pytest.approx(0.9, abs=0.02)


def test_draws_of_the_jitter_have_the_stated_ranges_and_all_orders():
  strength = Jitter(brightness=32 / 255, contrast=0.5, saturation=1.5, hue=18 / 360)
  draws = torchvision_color.draw(jax.random.key(0), 4000, strength)
  factors = np.asarray(draws.color.factors)
  expected = [(1 - 32 / 255, 1 + 32 / 255), (0.5, 1.5), (0.0, 2.5), (-0.05, 0.05)]
  np.testing.assert_allclose(factors.min(0), [least for least, _ in expected], atol=3e-3)
  np.testing.assert_allclose(factors.max(0), [largest for _, largest in expected], atol=3e-3)
  assert len(np.unique(draws.color.order, axis=0)) == 24


@pytest.mark.parametrize("wrong", [{"hue": 0.6}, {"probability": 1.5}, {"contrast": -0.1}])
def test_a_jitter_out_of_range_is_refused(wrong):
  with pytest.raises(SettingError, match=f"{next(iter(wrong))} = "):
    Jitter(**wrong)


@pytest.mark.parametrize("case", golden("confetii/color_jitter_kornia067"))
def test_the_jitter_of_kornia_0_6_7_matches_reference(case: Case):
  standardise = lambda image: pixels.standardise(image, imagenet.MEAN, imagenet.STD)
  jitter = jax.jit(confeti.JITTERS["kornia067"])
  alone = jax.jit(
    lambda image, operation, factor: torchvision_color._apply(
      image, operation, factor, torchvision_color.KORNIA_GREY
    )
  )
  for part in case.parts():
    image = part.x * np.asarray(imagenet.STD, np.float32) + np.asarray(imagenet.MEAN, np.float32)
    factors = jnp.asarray(part.factors, jnp.float32)[None]
    result = jitter(image, color.ColorDraws(factors, jnp.asarray(part.order)[None]))
    assert_close(result, part.x01_out, 1e-4, 1e-4)
    assert_close(standardise(result), part.x_out, 1e-4, 1e-4)
    for operation in range(4):
      which = jnp.full((1, 1, 1, 1), operation)
      changed = alone(image, which, factors[0, operation].reshape(1, 1, 1, 1))
      assert_close(changed, part[f"single{operation}"], 1e-4, 1e-4)
