import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.views import cutmix

pytestmark = pytest.mark.fast


def test_boxes_keep_to_whole_cells_inside_the_image():
  draws = jax.vmap(cutmix.draw)(jax.random.split(jax.random.key(0), 200))
  boxes = jax.vmap(lambda d: cutmix.cutmix_box(d.ratio, d.offset, (64, 96)))(draws)
  top, bottom, left, right = np.asarray(boxes).T
  assert (boxes % 8 == 0).all()
  assert (top >= 0).all() and (bottom <= 64).all() and (left >= 0).all() and (right <= 96).all()
  assert (bottom - top >= 8).all() and (right - left >= 8).all()
  assert len(set(bottom - top)) > 4 and len(set(left)) > 5  # sizes and places vary
  assert (right - left > bottom - top).any()  # each side follows its own length
  assert left.max() > 56  # also beyond the height


def test_the_smallest_box_is_one_cell_and_the_largest_has_one_place():
  last = jnp.full(2, 0.999)
  smallest = cutmix.cutmix_box(jnp.float32(0), last, (32, 48))
  np.testing.assert_array_equal(smallest, [16, 24, 32, 40])  # never in the last row or column
  largest = cutmix.cutmix_box(jnp.float32(1), last, (32, 48))
  np.testing.assert_array_equal(largest, [0, 32, 0, 48])


def test_a_box_is_where_it_is_pasted():
  box = jnp.array([8, 24, 16, 24])
  inside = cutmix.box_mask(box, (32, 40))
  assert inside.sum() == 16 * 8 and inside[8:24, 16:24].all()
  np.testing.assert_array_equal(cutmix.box_mask(box, (4, 5), cell=8), inside[::8, ::8])
  source, target = jnp.zeros((2, 32, 40, 3)), jnp.ones((2, 32, 40, 3))
  pasted = cutmix.paste(inside, target, source)
  np.testing.assert_array_equal(pasted[..., 0], jnp.stack([inside, inside]))
  np.testing.assert_array_equal(
    cutmix.paste(inside, target[..., 0], source[..., 0]), pasted[..., 0]
  )


def test_an_image_of_one_cell_is_an_error():
  with pytest.raises(ValueError, match="smaller than two cells of 8 pixels"):
    cutmix.cutmix_box(jnp.float32(0.5), jnp.zeros(2), (8, 64))


@pytest.mark.parametrize("case", golden("rccr/cutmix_box"))
def test_boxes_match_reference(case):
  size, cell = (int(case.size),) * 2, int(case.cell) if "cell" in case else 8
  for i, ratio in enumerate(jnp.asarray(case.ratio, jnp.float32)):
    limit = case.offset_exclusive_max[i]
    np.testing.assert_array_equal(cutmix.num_offsets(ratio, size, cell), limit)
    offset = jnp.asarray((case.offset_cell_yx[i] + 0.5) / limit, jnp.float32)
    box = cutmix.cutmix_box(ratio, offset, size, cell)
    np.testing.assert_array_equal(box, case.box_top_bottom_left_right[i])
