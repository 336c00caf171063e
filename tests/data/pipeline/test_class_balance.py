import numpy as np
import pytest
from golden_cases import golden

from jax_uda.data.pipeline import class_balance

pytestmark = pytest.mark.fast


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


def counts_of(number=40, classes=4):
  """Class 0 is in all images, each other class in fewer; the last in none."""
  pixels = np.zeros((number, classes), np.int64)
  for c in range(classes - 1):
    pixels[:: 4**c, c] = 5
  return pixels


def test_an_order_is_a_function_of_the_seed_and_the_draw_alone():
  one, other = (class_balance.BalancedOrder(counts_of(), seed=1) for _ in range(2))
  late = other[500]
  assert [one[n] for n in range(501)] == [*(other[n] for n in range(500)), late]
  different = class_balance.BalancedOrder(counts_of(), seed=2)
  assert [one[n] for n in range(50)] != [different[n] for n in range(50)]


def test_lists_are_taken_in_order_first_and_rare_classes_come_more_often():
  pixels = np.zeros((6, 2), np.int64)
  pixels[:5, 0] = pixels[5, 1] = 1
  order = class_balance.BalancedOrder(pixels, seed=0)
  drawn = [order[n] for n in range(400)]
  common = [n for n in drawn if n < 5]
  assert common[:5] == [0, 1, 2, 3, 4] and sorted(common[5:10]) == [0, 1, 2, 3, 4]
  assert 0.4 < np.mean(np.equal(drawn, 5)) < 0.6  # one image in six


def test_shares_start_again_after_a_block(monkeypatch):
  states = []
  draw_probabilities = class_balance.draw_probabilities
  monkeypatch.setattr(class_balance, "BLOCK", 10)
  monkeypatch.setattr(
    class_balance,
    "draw_probabilities",
    lambda images: states.append(images.copy()) or draw_probabilities(images),
  )
  class_balance.BalancedOrder(counts_of(), seed=0)[20]
  assert [n for n, images in enumerate(states) if not images.any()] == [0, 10, 20]
  assert states[9][0] == 9  # every image holds class 0, whatever class it was drawn for


def test_a_source_without_labels_is_an_error():
  with pytest.raises(ValueError, match="no source image has a label"):
    class_balance.BalancedOrder(np.zeros((3, 2), int), seed=0)


@pytest.mark.parametrize("case", golden("spcl/class_balance"))
def test_probabilities_match_reference(case):
  prob = class_balance.draw_probabilities(case.class_image_count)
  np.testing.assert_allclose(prob, case.prob, rtol=1e-9)
