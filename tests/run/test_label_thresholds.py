import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.ops import resize
from jax_uda.run import label_thresholds

pytestmark = pytest.mark.fast

RNG = np.random.default_rng(0)
LABEL = np.where(RNG.random(2000) < 0.1, 255, RNG.integers(0, 3, 2000))
CONFIDENCE = RNG.beta(4, 1 + LABEL % 3, 2000).astype(np.float32)


def test_half_of_the_rank_rounds_to_even():
  assert [label_thresholds.median_index(n) for n in range(1, 8)] == [0, 1, 2, 2, 2, 3, 4]


def test_thresholds_are_values_of_their_own_class_up_to_the_cap():
  exact = label_thresholds.median_thresholds(CONFIDENCE, LABEL, 4, cap=1.0)
  for c in range(3):
    members = np.sort(CONFIDENCE[c == LABEL])
    assert exact[c] == members[label_thresholds.median_index(len(members))]
  assert exact[3] == 0
  capped = label_thresholds.median_thresholds(CONFIDENCE, LABEL, 4, cap=0.7)
  np.testing.assert_array_equal(capped, np.minimum(exact, 0.7))


@pytest.mark.parametrize("num_bins", [64, label_thresholds.NUM_BINS])
def test_a_histogram_in_parts_is_at_most_one_bin_below_the_exact_thresholds(num_bins):
  histogram = label_thresholds.empty_histogram(4, num_bins)
  for part in np.array_split(np.arange(2000), 3):
    histogram = label_thresholds.add_pixels(histogram, CONFIDENCE[part], LABEL[part])
  assert histogram.bin_width == 1 / num_bins
  np.testing.assert_array_equal(histogram.counts.sum(1), np.bincount(LABEL, minlength=256)[:4])
  error = label_thresholds.median_thresholds(
    CONFIDENCE, LABEL, 4
  ) - label_thresholds.histogram_thresholds(histogram)
  assert (error >= 0).all() and (error < histogram.bin_width).all() and error[:3].any()


def test_certain_pixels_fall_into_the_last_bin():
  histogram = label_thresholds.add_pixels(
    label_thresholds.empty_histogram(1, 8), np.ones(3, np.float32), np.zeros(3, int)
  )
  assert histogram.counts[0].tolist() == [0] * 7 + [3]
  assert label_thresholds.histogram_thresholds(histogram).tolist() == [0.875]
  assert label_thresholds.histogram_thresholds(histogram, cap=0.5).tolist() == [0.5]


def test_a_pixel_at_its_threshold_keeps_its_label_and_one_below_loses_it():
  thresholds = label_thresholds.median_thresholds(CONFIDENCE, LABEL, 3, cap=1.0)
  kept = label_thresholds.threshold_label(CONFIDENCE, LABEL, thresholds)
  assert kept.dtype == np.uint8
  for c in range(3):
    of_class = c == LABEL
    np.testing.assert_array_equal(kept[of_class] == c, CONFIDENCE[of_class] >= thresholds[c])
    count = of_class.sum()
    assert (kept == c).sum() == count - label_thresholds.median_index(count)
  assert (kept[LABEL == 255] == 255).all()


def test_mistakes_are_errors_that_name_the_argument():
  with pytest.raises(ValueError, match=r"label has shape \(3,\), but confidence asks for \(2,\)"):
    label_thresholds.median_thresholds(np.ones(2), np.zeros(3, int), 2)
  with pytest.raises(ValueError, match=r"confidence spans 0.0 to 1.5"):
    label_thresholds.add_pixels(
      label_thresholds.empty_histogram(2), np.array([0.0, 1.5]), np.zeros(2, int)
    )
  with pytest.raises(ValueError, match=r"ids outside 0..1 that are not 255"):
    label_thresholds.threshold_label(np.ones(1), np.array([2]), np.ones(2))


def confidence_and_label(logits, size):
  upsampled = resize.bilinear(jnp.asarray(logits), tuple(size.tolist()), align_corners=True)
  prob = jax.nn.softmax(upsampled)
  return np.asarray(jnp.max(prob, -1)), np.asarray(jnp.argmax(prob, -1))


@pytest.mark.parametrize("case", golden("spcl/pseudo_label"))
def test_thresholds_and_labels_match_reference(case):
  num_classes, cap = case.logits.shape[-1], float(case.cap)
  measured = confidence_and_label(case.logits, case.threshold_size)
  count = np.bincount(measured[1].ravel(), minlength=num_classes)
  assert np.abs(count - case.class_count).sum() <= 2e-3 * measured[1].size
  median = label_thresholds.median_thresholds(*measured, num_classes, cap=1.0)
  np.testing.assert_allclose(median, case.median_uncapped, rtol=1e-5, atol=1e-6)
  thresholds = label_thresholds.median_thresholds(*measured, num_classes, cap=cap)
  np.testing.assert_allclose(thresholds, case.thresholds, rtol=1e-5, atol=1e-6)
  labels = label_thresholds.threshold_label(
    *confidence_and_label(case.logits, case.label_size), thresholds
  )
  assert labels.dtype == case.pseudo_label.dtype and labels.shape == case.pseudo_label.shape
  assert np.mean(labels != case.pseudo_label) <= 1e-3


@pytest.mark.parametrize("case", golden("spcl/median_index"))
def test_the_rank_of_the_median_matches_reference(case):
  for count, index in zip(case.counts, case.index, strict=True):
    assert count == 0 or label_thresholds.median_index(int(count)) == index
  thresholds = label_thresholds.median_thresholds(
    case.prob, case.label, int(case.num_classes), cap=float(case.cap)
  )
  np.testing.assert_array_equal(thresholds, case.thresholds)
