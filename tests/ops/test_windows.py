import functools

import golden_cases
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.ops import resize, windows

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/slide_inference"))
def test_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    weight = jnp.asarray(part.net_w, jnp.float32)
    bias = jnp.asarray(part.net_b, jnp.float32)

    def logits_of(crop, weight=weight, bias=bias):
      rows, columns = (jnp.linspace(-1, 1, n) for n in crop.shape[1:3])
      slope = (
        rows[:, None, None] * jnp.arange(len(weight), dtype=jnp.float32)
        - 0.5 * columns[None, :, None]
      )
      return jnp.einsum("bhwd,cd->bhwc", crop, weight, precision="highest") + bias + slope

    window, stride = tuple(part.crop.tolist()), tuple(part.stride.tolist())
    assert windows.boxes(part.x.shape[1:3], window, stride) == [
      tuple(box) for box in part.boxes_y1y2x1x2.tolist()
    ]
    run = jax.jit(
      functools.partial(windows.sliding_logits, logits_of, window=window, stride=stride)
    )
    averaged = run(part.x)
    assert_close(averaged, part.logits_window_avg, 1e-5)
    original = resize.bilinear(averaged, tuple(part.ori_size.tolist()))
    assert_close(original[:, ::3, ::3], part.logits_ori, 1e-5)
    np.testing.assert_array_equal(original.argmax(-1), part.pred)


def test_an_image_smaller_than_the_window_is_one_window():
  image = jnp.ones((1, 5, 9, 3))
  assert windows.boxes((5, 9), (8, 8), (4, 4)) == [(0, 5, 0, 8), (0, 5, 1, 9)]
  logits = windows.sliding_logits(lambda crop: crop[..., :2], image, (8, 8), (4, 4))
  np.testing.assert_allclose(logits, 1)


def test_a_network_that_looks_at_single_pixels_gives_the_same_as_the_whole_image():
  image = jax.random.normal(jax.random.key(0), (2, 13, 17, 3))
  logits = windows.sliding_logits(jnp.sin, image, (6, 5), (4, 3))
  np.testing.assert_allclose(logits, jnp.sin(image), rtol=1e-5, atol=1e-6)


def test_a_stride_that_leaves_gaps_is_refused():
  with pytest.raises(ValueError, match="stride"):
    windows.boxes((9, 9), (4, 4), (5, 4))


def test_a_network_that_changes_the_size_is_refused():
  with pytest.raises(ValueError, match=r"logits_of returns \(1, 1, 1, 3\) for windows of \(4, 4\)"):
    windows.sliding_logits(lambda crop: crop[:, ::4, ::4], jnp.ones((1, 8, 8, 3)), (4, 4), (2, 2))


def test_every_pixel_is_covered_and_no_window_leaves_the_image():
  rng = np.random.default_rng(0)
  for _ in range(50):
    size, window = rng.integers(1, 40, 2), rng.integers(1, 20, 2)
    stride = [int(rng.integers(1, side + 1)) for side in window]
    covered = np.zeros(size, int)
    for y1, y2, x1, x2 in windows.boxes(tuple(size), tuple(window), tuple(stride)):
      assert (y2 - y1, x2 - x1) == tuple(np.minimum(size, window))
      assert y1 >= 0 and x1 >= 0 and y2 <= size[0] and x2 <= size[1]
      covered[y1:y2, x1:x2] += 1
    assert covered.all()
