import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.data.pipeline import rare_class

pytestmark = pytest.mark.fast

CASES = golden("base/rcs")


@pytest.mark.parametrize("case", [c for c in CASES if "pixel_count" in c.values[0]])
def test_probabilities_and_image_lists_match_the_reference(case):
  classes, prob = rare_class.class_probabilities(case.pixel_count, float(case.temperature))
  assert classes.tolist() == case.classes.tolist()
  assert_close(prob, case.class_prob, rtol=1e-4)
  table = rare_class.make_table(
    case.pixel_count, temperature=float(case.temperature), min_pixels=int(case.min_pixels)
  )
  lists = case.group("files_with_class_")
  assert lists.keys() == {str(c) for c in table.classes}
  for c, images in zip(table.classes, table.images, strict=True):
    assert images.tolist() == lists[str(c)].tolist()


@pytest.mark.parametrize("case", [c for c in CASES if "total_pixels" in c.values[0]])
def test_probabilities_of_cityscapes_match_the_reference(case):
  for temperature, expected in ((0.01, case.class_prob_T001), (0.05, case.class_prob_T005)):
    classes, prob = rare_class.class_probabilities(case.total_pixels, temperature)
    assert classes.tolist() == case.classes_sorted.tolist()
    assert_close(prob, expected, rtol=1e-4)


COUNTS = np.array([[900, 80, 0, 0], [700, 0, 9, 0], [500, 60, 30, 0]])


def test_draws_have_the_stated_frequencies_and_enough_pixels():
  table = rare_class.make_table(COUNTS, temperature=0.5, min_pixels=20)
  rng = np.random.default_rng(0)
  draws = [table.draw(rng) for _ in range(3000)]
  classes, counts = np.unique([c for c, _ in draws], return_counts=True)
  expected = dict(zip(table.classes.tolist(), table.prob, strict=True))
  assert_close(counts / 3000, [expected[c] for c in classes], rtol=0, atol=0.03)
  assert all(COUNTS[i, c] > 20 for c, i in draws)
  assert {i for c, i in draws if c == 1} == {0, 2}


def test_a_class_that_no_image_has_enough_of_is_never_drawn():
  table = rare_class.make_table(COUNTS, temperature=0.01, min_pixels=70)
  assert table.classes.tolist() == [1, 0] and np.isclose(table.prob.sum(), 1)


def test_an_impossible_threshold_is_an_error_that_names_the_field():
  with pytest.raises(ValueError, match="min_pixels = 1000.*most is 900"):
    rare_class.make_table(COUNTS, temperature=0.01, min_pixels=1000)


def test_extreme_temperatures_keep_the_probabilities_finite():
  counts = np.array([[10_000, 0], [10_000, 1]])
  for temperature in (1e-6, 1e6):
    table = rare_class.make_table(counts, temperature=temperature, min_pixels=5)
    assert table.classes.tolist() == [0] and table.prob.tolist() == [1.0]
