import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import Case, golden

from jax_uda.ops import labels, resize

pytestmark = pytest.mark.fast


def test_a_cell_takes_the_first_of_its_pixels_and_keeps_the_dtype():
  label = jnp.arange(24, dtype=jnp.uint8).reshape(1, 4, 6)
  small = labels.nearest_label(label, (2, 3))
  assert small.tolist() == [[[0, 2, 4], [12, 14, 16]]] and small.dtype == jnp.uint8
  assert labels.nearest_label(small, (4, 6))[0, 1].tolist() == [0, 0, 2, 2, 4, 4]


def test_groups_of_images_are_resized_alike():
  label = jax.random.randint(jax.random.key(0), (2, 3, 7, 5), 0, 9)
  both = labels.nearest_label(label, (3, 4))
  np.testing.assert_array_equal(both[1], labels.nearest_label(label[1], (3, 4)))


def test_only_correctly_classified_pixels_keep_their_label():
  logits = jnp.array([[3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 3.0, 3.0], [0.0, 0.0, 1.0]])
  for dtype in (jnp.uint8, jnp.int32):
    label = jnp.array([0, 0, 2, 2], dtype)
    correct = labels.correct_label(label, logits)
    assert correct.tolist() == [0, 255, 255, 2] and correct.dtype == jnp.int32
  assert labels.correct_label(label, logits, ignore=-1).tolist() == [0, -1, -1, 2]


def test_ignored_pixels_stay_ignored():
  logits = jnp.zeros((3, 4))
  assert labels.correct_label(jnp.array([255, -1, 4]), logits).tolist() == [255] * 3


def test_mistakes_are_errors_that_name_the_argument():
  with pytest.raises(ValueError, match=r"label is float32\(1, 4, 4\)"):
    labels.nearest_label(jnp.zeros((1, 4, 4)), (2, 2))
  with pytest.raises(ValueError, match=r"label has shape \(3,\), but logits ask for \(4,\)"):
    labels.correct_label(jnp.zeros(3, int), jnp.zeros((4, 2)))
  with pytest.raises(ValueError, match="logits has dtype int32"):
    labels.correct_label(jnp.zeros(4, int), jnp.zeros((4, 2), int))


def test_rows_and_columns_beyond_the_last_whole_cell_are_dropped():
  label = jnp.array([[[0, 0, 1], [0, 0, 1], [2, 2, 2]]])
  assert labels.downscale_label(label, 2, 3, 0.75).tolist() == [[[0]]]


def test_a_tie_goes_to_the_lower_class_and_ignored_pixels_stay_in_the_denominator():
  tie = jnp.array([[[2, 1], [1, 2]]])
  assert labels.downscale_label(tie, 2, 3, 0.5).tolist() == [[[1]]]
  assert labels.downscale_label(tie, 2, 3, 0.51).tolist() == [[[255]]]
  half_void = jnp.array([[[0, 0], [255, 255]]])
  assert labels.downscale_label(half_void, 2, 3, 0.5).tolist() == [[[0]]]
  assert labels.downscale_label(half_void, 2, 3, 0.75).tolist() == [[[255]]]


def test_floats_are_not_labels():
  with pytest.raises(ValueError, match="label is float32"):
    labels.downscale_label(jnp.zeros((1, 4, 4)), 2, 3, 0.75)


def test_an_image_holds_the_classes_of_its_valid_pixels():
  label = jnp.array([[[2, 255], [2, 0]], [[255, 255], [7, 3]]], jnp.uint8)
  expected = [[1, 0, 1], [0, 0, 0]]
  assert labels.image_classes(label, 3).tolist() == expected
  label = label.astype(jnp.int32).at[0, 0, 0].set(-1)
  assert labels.image_classes(label[None], 3).tolist() == [expected]


def test_groups_of_images_are_downscaled_alike():
  label = jax.random.randint(jax.random.key(0), (2, 3, 8, 6), 0, 3)
  both = labels.downscale_label(label, 2, 3, 0.5)
  np.testing.assert_array_equal(both[1], labels.downscale_label(label[1], 2, 3, 0.5))


@pytest.mark.parametrize("case", golden("sepico/label_downscale"))
def test_downscaled_labels_match_reference(case: Case):
  label = jnp.asarray(case.label)
  if str(case.mode) == "avgpool":
    options = int(case.scale_factor), int(case.num_classes), float(case.min_ratio)
    small = labels.downscale_label(label, *options)
  else:
    small = resize.nearest(label[..., None], tuple(case.out_hw.tolist()))[..., 0]
  np.testing.assert_array_equal(small, case.out)


@pytest.mark.parametrize("case", golden("spcl/label_nearest"))
def test_nearest_labels_match_reference(case: Case):
  for i in range(int(case.n)):
    expected = case[f"down_{i}"]
    small = labels.nearest_label(jnp.asarray(case[f"label_{i}"]), expected.shape[1:])
    np.testing.assert_array_equal(small, expected)
