import numpy as np
import pytest

from jax_uda.data import class_balance


def test_draws_start_uniform_and_prefer_what_was_drawn_less():
  np.testing.assert_allclose(class_balance.draw_probabilities(np.zeros(4)), 0.25)
  prob = class_balance.draw_probabilities(np.array([0, 1, 1, 8]))
  assert prob[0] > prob[1] == prob[2] > prob[3] and np.isclose(prob.sum(), 1)
  np.testing.assert_allclose(prob[1] / prob[3], np.log(1.81) / np.log(1.11))


def test_rows_are_independent_and_only_shares_count():
  counts = np.array([[3, 1, 0], [5, 5, 5]])
  both = class_balance.draw_probabilities(counts)
  np.testing.assert_allclose(both[0], class_balance.draw_probabilities(10 * counts[0]))
  np.testing.assert_allclose(both[1], 1 / 3)


def test_negative_counts_are_an_error():
  with pytest.raises(ValueError, match="class_images holds -1"):
    class_balance.draw_probabilities(np.array([1, -1]))
