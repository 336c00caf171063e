import jax.numpy as jnp
import pytest

from jax_uda import losses


def test_rows_and_columns_beyond_the_last_whole_cell_are_dropped():
  label = jnp.array([[[0, 0, 1], [0, 0, 1], [2, 2, 2]]])
  assert losses.downscale_label(label, 2, 3, 0.75).tolist() == [[[0]]]


def test_a_tie_goes_to_the_lower_class_and_ignored_pixels_stay_in_the_denominator():
  tie = jnp.array([[[2, 1], [1, 2]]])
  assert losses.downscale_label(tie, 2, 3, 0.5).tolist() == [[[1]]]
  assert losses.downscale_label(tie, 2, 3, 0.51).tolist() == [[[255]]]
  half_void = jnp.array([[[0, 0], [255, 255]]])
  assert losses.downscale_label(half_void, 2, 3, 0.5).tolist() == [[[0]]]
  assert losses.downscale_label(half_void, 2, 3, 0.75).tolist() == [[[255]]]


def test_floats_are_no_labels():
  with pytest.raises(ValueError, match="label is float32"):
    losses.downscale_label(jnp.zeros((1, 4, 4)), 2, 3, 0.75)
