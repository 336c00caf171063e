import golden_cases
import numpy as np
import pytest
from golden_cases import golden

from jax_uda.run import metrics

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/miou"))
def test_matches_reference(case: golden_cases.Case):
  for part in case.parts():
    classes = int(part.num_classes)
    counts = sum(
      metrics.confusion(part[f"gt{i}"], part[f"pred{i}"], classes)
      for i in range(int(part.n_images))
    )
    np.testing.assert_array_equal(counts, part.confusion_gt_pred)
    np.testing.assert_allclose(metrics.iou(counts), part.iou, rtol=1e-9)
    np.testing.assert_allclose(metrics.accuracy(counts), part.acc, rtol=1e-9)
    np.testing.assert_allclose(metrics.pixel_accuracy(counts), part.aAcc, rtol=1e-9)
    np.testing.assert_allclose(metrics.mean_iou(counts), part.mIoU_nanmean, rtol=1e-9)
    if "subset" in part:
      np.testing.assert_allclose(metrics.mean_iou(counts, part.subset), part.mIoU_subset, rtol=1e-9)


def test_a_hand_computed_example():
  label = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
  prediction = np.array([[0, 1, 1], [1, 2, 0]], np.uint8)
  counts = metrics.confusion(label, prediction, 4)
  assert counts.tolist() == [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
  np.testing.assert_allclose(metrics.iou(counts), [1 / 3, 2 / 3, 0, np.nan])
  assert metrics.mean_iou(counts) == pytest.approx(1 / 3)
  assert metrics.pixel_accuracy(counts) == pytest.approx(3 / 5)


def test_scores_of_nothing_are_nan_without_a_warning(recwarn):
  counts = metrics.confusion(np.full((2, 2), 255), np.zeros((2, 2), int), 3)
  assert np.isnan(metrics.mean_iou(counts)) and np.isnan(metrics.pixel_accuracy(counts))
  assert not recwarn.list


def test_a_prediction_outside_the_classes_is_an_error():
  with pytest.raises(ValueError, match=r"0\.\.4, not in 0\.\.3"):
    metrics.confusion(np.zeros(2, int), np.array([0, 4]), 4)


def test_counts_of_two_sets_add_up_but_their_scores_do_not():
  rng = np.random.default_rng(0)
  label, prediction = rng.integers(0, 3, (2, 2, 50)).astype(np.uint8)
  parts = [metrics.confusion(label[i], prediction[i], 3) for i in range(2)]
  whole = metrics.confusion(label, prediction, 3)
  assert whole.dtype == np.int64
  np.testing.assert_array_equal(parts[0] + parts[1], whole)
  assert metrics.mean_iou(whole) != np.mean([metrics.mean_iou(part) for part in parts])
