import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_uda.ops import labels


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
