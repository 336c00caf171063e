import dataclasses

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.ops import pixels
from jax_uda.views import blur, color, strong


def recorded(part) -> strong.StrongDraws:
  """The recorded factors with both gates open."""
  names = ("brightness_factor", "contrast_factor", "saturation_factor", "hue_factor")
  factors = jnp.stack([jnp.asarray(part[name], jnp.float32) for name in names], -1)
  batch = len(factors)
  return strong.StrongDraws(
    jitter_gate=jnp.float32(1),
    blur_gate=jnp.float32(1),
    color=color.ColorDraws(factors, jnp.tile(jnp.asarray(part.order, jnp.int32), (batch, 1))),
    sigma=jnp.full(batch, float(part.sigma)),
  )


@pytest.mark.parametrize("case", golden("base/strong_aug"))
def test_matches_reference(case: golden_cases.Case):
  mean, std = (jnp.asarray(x, jnp.float32) / 255 for x in (case.mean, case.std))

  @jax.jit
  def augment(x, draws):  # the file's images are standardised
    return pixels.standardise(strong.augment(x * std + mean, draws), mean, std)

  for part in case.parts():
    hsv = np.asarray(color.rgb_to_hsv(jnp.asarray(part.x01)))
    turn = (hsv[..., 0] - part.hsv[..., 0] + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(turn, 0, atol=1e-3)
    assert_close(hsv[..., 1:], part.hsv[..., 1:], 1e-4)
    draws = recorded(part)
    jittered = augment(part.x, draws.replace(blur_gate=jnp.float32(0)))
    assert_close(jittered, part.jittered, 1e-4)
    assert_close(augment(part.x, draws), part.blurred, 1e-4)
    assert [blur.kernel_size(n) for n in part.x.shape[1:3]] == part.kernel_yx.tolist()
  assert [blur.kernel_size(n) for n in case.kernel_size_in] == case.kernel_size_out.tolist()


def test_hsv_and_back_is_the_identity_also_for_greys_and_black():
  image = jax.random.uniform(jax.random.key(0), (4, 5, 3))
  image = jnp.concatenate([image, jnp.zeros((1, 5, 3)), jnp.full((1, 5, 3), 0.7)])
  np.testing.assert_allclose(color.hsv_to_rgb(color.rgb_to_hsv(image)), image, atol=2e-6)


def test_closed_gates_leave_the_image_as_it_is():
  image = jax.random.uniform(jax.random.key(0), (2, 16, 16, 3))
  draws = strong.draw(jax.random.key(1), 2).replace(
    jitter_gate=jnp.float32(strong.JITTER_GATE), blur_gate=jnp.float32(strong.BLUR_GATE)
  )
  np.testing.assert_array_equal(strong.augment(image, draws), image)


def test_each_image_has_factors_order_and_sigma_of_its_own():
  draws = strong.draw(jax.random.key(3), 200)
  assert sorted(map(tuple, np.unique(np.sort(draws.color.order, -1), axis=0))) == [(0, 1, 2, 3)]
  assert len(np.unique(draws.color.order, axis=0)) == 24
  factors = np.asarray(draws.color.factors)
  for column, centre in enumerate((1, 1, 1, 0)):
    assert np.abs(factors[:, column] - centre).max() <= 0.2
    assert np.std(factors[:, column]) > 0.08
  assert draws.sigma.min() >= strong.MIN_SIGMA and draws.sigma.max() <= blur.MAX_SIGMA


def test_permuting_the_batch_permutes_the_result():
  image = jax.random.uniform(jax.random.key(0), (3, 24, 20, 3))
  draws = strong.draw(jax.random.key(1), 3).replace(
    jitter_gate=jnp.float32(1), blur_gate=jnp.float32(1)
  )
  order = jnp.array([2, 0, 1])
  shuffled = dataclasses.replace(
    draws,
    color=color.ColorDraws(draws.color.factors[order], draws.color.order[order]),
    sigma=draws.sigma[order],
  )
  np.testing.assert_allclose(
    strong.augment(image, draws)[order],
    strong.augment(image[order], shuffled),
    rtol=1e-6,
  )


def test_blur_keeps_a_constant_image_and_the_mean_inside():
  constant = jnp.full((1, 30, 41, 3), 0.3)
  np.testing.assert_allclose(blur.gaussian_blur(constant, jnp.array([1.1])), constant, rtol=1e-6)
  spot = jnp.zeros((1, 160, 160, 1)).at[0, 80, 80, 0].set(1.0)
  blurred = blur.gaussian_blur(spot, jnp.array([1.0]))
  assert blurred.sum() == pytest.approx(1, rel=1e-6)
  assert blurred[0, 80, 80, 0] == pytest.approx(1 / (2 * np.pi), rel=1e-3)


def test_about_four_steps_of_five_jitter_and_every_second_blurs():
  draws = jax.vmap(lambda key: strong.draw(key, 1))(jax.random.split(jax.random.key(0), 2000))
  assert (draws.jitter_gate > strong.JITTER_GATE).mean() == pytest.approx(0.8, abs=0.03)
  assert (draws.blur_gate > strong.BLUR_GATE).mean() == pytest.approx(0.5, abs=0.04)


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_jitter_of_grey_stays_grey_and_inside_the_range(grey):
  draws = color.draw(jax.random.key(0), 24, 0.2)
  jittered = color.jitter(jnp.full((24, 2, 3, 3), grey), draws)
  assert (jittered >= 0).all() and (jittered <= 1).all()  # also false for NaN
  np.testing.assert_allclose(jittered, jittered[..., :1] * jnp.ones(3), atol=1e-6)


def test_fifteen_taps_blur_like_the_reference_kernel_at_the_largest_sigma():
  size, sigma = 300, blur.MAX_SIGMA  # the kernel of 300 pixels has 29 taps
  image = np.random.default_rng(0).random((1, size, 1, 1), np.float32)
  radius = blur.kernel_size(size) // 2
  assert radius > np.ceil(blur.FAR * blur.MAX_SIGMA)
  taps = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
  padded = np.pad(image[0, :, 0, 0].astype(np.float64), radius, mode="reflect")
  expected = np.convolve(padded, taps / taps.sum(), mode="valid")
  blurred = blur.gaussian_blur(jnp.asarray(image), jnp.array([sigma]))
  np.testing.assert_allclose(blurred[0, :, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize("case", golden("rccr/color_blur"))
def test_jitter_and_blur_of_rccr_match_reference(case):
  image, mean = jnp.asarray(case.image), jnp.asarray(case.img_mean_bgr, jnp.float32)
  near = lambda actual, expected: np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-2)
  names = ("brightness", "contrast", "saturation", "hue")
  factors = np.stack([case[f"{name}_factor"] for name in names], -1)  # [calls, B, 4]
  for call, expected in enumerate(case.jittered):
    order = jnp.broadcast_to(jnp.asarray(case.order[call]), (len(image), len(names)))
    draws = color.ColorDraws(jnp.asarray(factors[call]), order)
    near(color.jitter((image + mean) / 255, draws) * 255 - mean, expected)
  for sigma, expected in zip(case.blur_sigma, case.blurred, strict=True):
    near(blur.gaussian_blur(image, jnp.full(len(image), sigma, jnp.float32)), expected)
  sizes = [blur.kernel_size(int(n)) for n in case.kernel_table_dim]
  np.testing.assert_array_equal(sizes, case.kernel_table_size)
  sizes = [blur.kernel_size(n) for n in image.shape[1:3]]
  np.testing.assert_array_equal(sizes, case.kernel_size_yx)
