import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.views import entropy_crop

pytestmark = pytest.mark.fast

LOGITS = 3 * jax.random.normal(jax.random.key(0), (3, 6, 8, 4))


@pytest.mark.parametrize(
  ("image_size", "crop_size", "stride"),
  [((48, 64), (24, 32), (12, 16)), ((48, 64), (16, 40), (16, 8)), ((50, 61), (23, 30), (11, 13))],
)
def test_windows_are_means_of_the_upsampled_map_row_by_row(image_size, crop_size, stride):
  values = np.asarray(jax.random.uniform(jax.random.key(1), (3, 6, 8)))
  rows, columns = (np.arange(n) * m // n for n, m in zip(image_size, (6, 8), strict=True))
  image = values[:, rows][:, :, columns]
  boxes = [
    (y, y + crop_size[0], x, x + crop_size[1])
    for y in range(0, image_size[0] - crop_size[0] + 1, stride[0])
    for x in range(0, image_size[1] - crop_size[1] + 1, stride[1])
  ]
  expected = np.stack([image[:, a:b, c:d].mean((1, 2)) for a, b, c, d in boxes], 1)
  options = dict(crop_size=crop_size, stride=stride)
  means = entropy_crop.window_means(jnp.asarray(values), image_size, **options)
  np.testing.assert_allclose(means, expected, rtol=1e-5)
  entropy = entropy_crop.entropy_map(LOGITS)
  best = entropy_crop.window_means(entropy, image_size, **options).argmax(1)
  found = jax.jit(lambda x: entropy_crop.entropy_boxes(x, image_size, **options))(LOGITS)
  assert found.dtype == jnp.int32
  np.testing.assert_array_equal(found, np.array(boxes)[best])


def test_the_first_window_wins_ties():
  alike = jnp.broadcast_to(LOGITS[:, :1, :1], (3, 128, 128, 4))
  boxes = jax.jit(functools.partial(entropy_crop.entropy_boxes, image_size=(1024, 1024)))(alike)
  np.testing.assert_array_equal(boxes, [[0, 512, 0, 512]] * 3)


def test_entropy_is_largest_for_a_uniform_prediction_and_finite_for_a_certain_one():
  entropy = entropy_crop.entropy_map(jnp.zeros((1, 2, 2, 5)))
  np.testing.assert_allclose(entropy, 1 / 5, rtol=1e-6)
  certain = entropy_crop.entropy_map(jnp.zeros((1, 2, 2, 5)).at[..., 1].set(1e4))
  zeros = -4 * 1e-8 * np.log(1e-8) / (5 * np.log(5))  # four probabilities of exactly 0
  np.testing.assert_allclose(certain, zeros, rtol=1e-5)


def test_nothing_is_differentiated_through_it():
  grad = jax.grad(lambda x: entropy_crop.entropy_map(x).sum())(LOGITS)
  assert not grad.any()


def test_bfloat16_logits_are_scored_in_float32():
  low = LOGITS.astype(jnp.bfloat16)
  entropy = entropy_crop.entropy_map(low)
  assert entropy.dtype == jnp.float32
  np.testing.assert_array_equal(entropy, entropy_crop.entropy_map(low.astype(jnp.float32)))


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"logits": LOGITS[0]}, r"logits has shape \(6, 8, 4\)"),
    ({"logits": LOGITS.astype(int)}, "dtype int32"),
    ({"logits": LOGITS[..., :1]}, "C > 1"),
    ({"crop_size": (32, 80)}, r"crop_size = \(32, 80\)"),
    ({"crop_size": (0, 32)}, r"crop_size = \(0, 32\)"),
    ({"stride": (16, 0)}, r"stride = \(16, 0\)"),
  ],
)
def test_mistakes_are_errors_that_name_the_argument(arguments, message):
  options = dict(logits=LOGITS, image_size=(48, 64), crop_size=(24, 32), stride=(12, 16))
  with pytest.raises(ValueError, match=message):
    entropy_crop.entropy_boxes(**{**options, **arguments})


@pytest.mark.parametrize("case", golden("cluda/entropy_crop"))
def test_entropy_windows_and_boxes_match_reference(case):
  logits, image_size = jnp.asarray(case.logits), tuple(case.image_size.tolist())
  options = dict(crop_size=tuple(case.crop_size.tolist()), stride=tuple(case.stride.tolist()))
  values = jax.jit(entropy_crop.entropy_map)(logits)
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)
  close(values, case.entropy)
  close(entropy_crop.window_means(values, image_size, **options), case.window_means)
  boxes = jax.jit(lambda x: entropy_crop.entropy_boxes(x, image_size, **options))(logits)
  np.testing.assert_array_equal(boxes, case.crop_boxes)
