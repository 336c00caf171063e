"""Resizing agrees with the reference in values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.ops import resize

pytestmark = pytest.mark.fast

X = np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32)


def resized(part, x):
  size = tuple(int(n) for n in part.size)
  if str(part.mode) == "bilinear":
    return resize.bilinear(x, size, align_corners=bool(part.align_corners))
  return {"nearest": resize.nearest, "bicubic": resize.bicubic}[str(part.mode)](x, size)


@pytest.mark.parametrize("case", golden("base/resize"))
def test_matches_reference_in_value_and_gradient(case):
  for part in case.parts():
    y, pullback = jax.vjp(lambda x, part=part: resized(part, x), jnp.asarray(part.x))
    assert_close(y, part.y, 2e-5)
    if "grad_x" in part:
      assert_close(pullback(jnp.asarray(part.cot))[0], part.grad_x, 2e-5)


@pytest.mark.parametrize("function", [resize.bilinear, resize.bicubic, resize.nearest])
def test_an_unchanged_size_returns_the_input_itself(function):
  assert function(X, (6, 5)) is X


@pytest.mark.parametrize("function", [resize.bilinear, resize.bicubic, resize.nearest])
def test_a_constant_stays_constant_at_any_size(function):
  for size in ((1, 1), (3, 11), (13, 2)):
    np.testing.assert_allclose(function(jnp.full((4, 6, 2), 2.5), size), 2.5, rtol=1e-6)


@pytest.mark.parametrize("function", [resize.bilinear, resize.bicubic, resize.nearest])
def test_leading_axes_are_independent_images(function):
  together = function(jnp.asarray(X[None]), (4, 9))
  assert together.shape == (1, 2, 4, 9, 3)
  np.testing.assert_allclose(together[0, 1], function(jnp.asarray(X[1]), (4, 9)), rtol=1e-5)


def test_halving_is_the_mean_of_two_by_two_pixels():
  x = X[:, :, :4]
  means = x.reshape(2, 3, 2, 2, 2, 3).mean((2, 4))
  np.testing.assert_allclose(resize.bilinear(x, (3, 2)), means, rtol=1e-5, atol=1e-6)


def test_aligned_corners_keep_the_corner_pixels():
  y = resize.bilinear(X, (11, 13), align_corners=True)
  np.testing.assert_allclose(
    y[:, [0, 0, -1, -1], [0, -1, 0, -1]], X[:, [0, 0, -1, -1], [0, -1, 0, -1]], rtol=1e-6
  )


def test_nearest_keeps_integer_labels_and_takes_the_floor():
  labels = jnp.arange(5, dtype=jnp.uint8)[None, :, None]
  y = resize.nearest(labels, (1, 8))
  assert y.dtype == jnp.uint8
  np.testing.assert_array_equal(y[0, :, 0], [0, 0, 1, 1, 2, 3, 3, 4])


def test_integers_are_refused_by_the_interpolating_functions():
  with pytest.raises(ValueError, match="use nearest"):
    resize.bilinear(np.zeros((4, 4, 1), np.int32), (2, 2))


@pytest.mark.parametrize("case", golden("confeti/resize_align_corners"))
def test_aligned_corners_and_nearest_pixels_match_reference(case):
  for i in range(int(case.n_cases)):
    x, expected = jnp.asarray(case[f"x{i}"]), case[f"y{i}"]
    size = expected.shape[1:3]
    assert_close(resize.bilinear(x, size, align_corners=True), expected, rtol=1e-4, atol=2e-5)
    height, width = x.shape[1:3]
    index = jnp.arange(height * width).reshape(height, width, 1)
    np.testing.assert_array_equal(
      resize.nearest(index, size)[..., 0], case[f"nearest_src_index{i}"]
    )
