import dataclasses

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.augment import blur, color, strong


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
  augment = jax.jit(lambda x, draws: strong.augment(x, draws, mean=case.mean, std=case.std))
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
  image = jax.random.normal(jax.random.key(0), (2, 16, 16, 3))
  draws = strong.draw(jax.random.key(1), 2).replace(
    jitter_gate=jnp.float32(strong.JITTER_GATE), blur_gate=jnp.float32(strong.BLUR_GATE)
  )
  np.testing.assert_array_equal(strong.augment(image, draws, mean=(120,) * 3, std=(60,) * 3), image)


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
  image = jax.random.normal(jax.random.key(0), (3, 24, 20, 3))
  draws = strong.draw(jax.random.key(1), 3).replace(
    jitter_gate=jnp.float32(1), blur_gate=jnp.float32(1)
  )
  order = jnp.array([2, 0, 1])
  shuffled = dataclasses.replace(
    draws,
    color=color.ColorDraws(draws.color.factors[order], draws.color.order[order]),
    sigma=draws.sigma[order],
  )
  options = dict(mean=(120,) * 3, std=(60,) * 3)
  np.testing.assert_allclose(
    strong.augment(image, draws, **options)[order],
    strong.augment(image[order], shuffled, **options),
    rtol=1e-6,
  )


def test_blur_keeps_a_constant_image_and_the_mean_inside():
  constant = jnp.full((1, 30, 41, 3), 0.3)
  np.testing.assert_allclose(blur.gaussian_blur(constant, jnp.array([1.1])), constant, rtol=1e-6)
  spot = jnp.zeros((1, 160, 160, 1)).at[0, 80, 80, 0].set(1.0)
  blurred = blur.gaussian_blur(spot, jnp.array([1.0]))
  assert blurred.sum() == pytest.approx(1, rel=1e-6)
  assert blurred[0, 80, 80, 0] == pytest.approx(1 / (2 * np.pi), rel=1e-3)
