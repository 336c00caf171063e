"""HRDA's windows and crops agree with the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.ops import boxes as hrda_boxes
from jax_uda.ops import windows

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/hrda_boxes"))
def test_windows_match_reference(case):
  for part in case.parts("case"):
    height, width, *crop, overlap = part["in"].tolist()
    size, crop = (height, width), tuple(crop)
    boxes = hrda_boxes.half_overlapping(size, crop) if overlap else windows.boxes(size, crop, crop)
    np.testing.assert_array_equal(boxes, part.boxes_y1y2x1x2)


@pytest.mark.parametrize("case", golden("base/hrda_boxes"))
def test_reachable_crop_offsets_match_reference(case):
  for part in case.parts("crop"):
    height, width, crop, divisor = part["in"].tolist()
    assert list(hrda_boxes.offsets(height, crop, divisor)) == part.y_offsets.tolist()
    assert list(hrda_boxes.offsets(width, crop, divisor)) == part.x_offsets.tolist()


def test_drawn_boxes_reach_every_offset_and_no_other():
  keys = jax.random.split(jax.random.key(0), 200)
  draw = lambda key: hrda_boxes.draw(key, (48, 64), (32, 16), 8)
  boxes = np.asarray(jax.jit(jax.vmap(draw))(keys))
  assert set(boxes[:, 0]) == {0, 8} and set(boxes[:, 2]) == {0, 8, 16, 24, 32, 40}
  assert (boxes[:, 1] - boxes[:, 0] == 32).all() and (boxes[:, 3] - boxes[:, 2] == 16).all()


def test_one_box_equals_the_same_box_for_every_image():
  x = jax.random.normal(jax.random.key(0), (2, 6, 8, 3))
  box = jnp.array([1, 4, 2, 7])
  boxes = jnp.stack([box, box])
  one = hrda_boxes.crop(x, box, (3, 5))
  np.testing.assert_array_equal(one, x[:, 1:4, 2:7])
  np.testing.assert_array_equal(hrda_boxes.crop(x, boxes, (3, 5)), one)
  whole = hrda_boxes.insert(one, box, (6, 8))
  np.testing.assert_array_equal(hrda_boxes.insert(one, boxes, (6, 8)), whole)
  inside = hrda_boxes.inside(box, (6, 8))
  np.testing.assert_array_equal(hrda_boxes.inside(boxes, (6, 8))[1], inside[0])
  np.testing.assert_array_equal(whole, jnp.where(inside[..., None], x, 0))


def test_each_image_has_its_own_box():
  x = jnp.arange(2 * 4 * 4).reshape(2, 4, 4)
  crops = hrda_boxes.crop(x, jnp.array([[0, 2, 0, 2], [2, 4, 1, 3]]), (2, 2))
  np.testing.assert_array_equal(crops, jnp.stack([x[0, :2, :2], x[1, 2:, 1:3]]))


def test_a_crop_larger_than_the_image_is_refused():
  with pytest.raises(ValueError, match="512 pixels is larger.*256"):
    hrda_boxes.offsets(256, 512, 8)
