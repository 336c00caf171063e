import numpy as np
import pytest
from golden_cases import golden

from jax_uda.data.pipeline import crop

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("case", golden("base/crop_accept"))
def test_acceptance_matches_the_reference(case):
  accepted = [crop.is_varied(label, float(case.cat_max_ratio)) for label in case.labels]
  assert accepted == case.accepted.tolist()
  assert case.max_tries == crop.MAX_REDRAWS


@pytest.mark.parametrize("case", golden("base/crop_accept"))
def test_the_sequence_of_windows_matches_the_reference(case):
  windows = [crop.Window(y1, x1, y2 - y1, x2 - x1) for y1, y2, x1, x2 in case.seq_boxes_y1y2x1x2]
  draws = iter(windows)
  window = crop.choose_window(case.seq_label, draws.__next__, float(case.cat_max_ratio))
  assert next(draws, None) is None
  np.testing.assert_array_equal(window.of(case.seq_label), case.seq_result)


def test_the_tenth_redraw_is_used_unchecked():
  windows = [crop.Window(0, i, 4, 4) for i in range(20)]
  draws = iter(windows)
  assert crop.choose_window(np.zeros((4, 30), np.uint8), draws.__next__) == windows[10]
  assert next(draws) == windows[11]


def test_a_ratio_of_one_accepts_the_first_box():
  draws = iter([crop.Window(0, 0, 2, 2)])
  crop.choose_window(np.zeros((4, 4), np.uint8), draws.__next__, 1.0)


@pytest.mark.parametrize("label", ([255, 255], [3, 255], [3, 3]))
def test_fewer_than_two_classes_are_not_varied(label):
  assert not crop.is_varied(np.array([label], np.uint8), 0.75)


def test_windows_reach_every_offset_and_stay_inside():
  rng = np.random.default_rng(0)
  windows = {crop.draw_window((5, 7), (4, 4), rng) for _ in range(200)}
  assert windows == {crop.Window(top, left, 4, 4) for top in range(2) for left in range(4)}


def test_an_image_smaller_than_the_crop_is_padded_at_the_bottom_and_right():
  window = crop.draw_window((3, 9), (4, 5), np.random.default_rng(0))
  assert (window.height, window.width) == (3, 5)
  image = np.zeros((4, 6, 3), np.uint8)
  crop.Crop(window).fill(image, np.ones((3, 9, 3), np.uint8), crop.PAD_COLOR)
  assert (image[:3, :5] == 1).all()
  assert (image[3] == crop.PAD_COLOR).all() and (image[:, 5] == crop.PAD_COLOR).all()


@pytest.mark.parametrize("shape", ((5, 7), (5, 7, 3)))
@pytest.mark.parametrize("size", ((3, 4), (4, 6)))
def test_a_mirrored_view_is_the_window_from_right_to_left(shape, size):
  array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
  mirrored = crop.Crop(crop.Window(1, 2, 3, 4), is_mirrored=True)
  out = np.zeros((*size, *shape[2:]), np.uint8)
  mirrored.fill(out, array, 255)
  np.testing.assert_array_equal(out[:3, :4], array[1:4, 2:6][:, ::-1])
  assert (out[3:] == 255).all() and (out[:, 4:] == 255).all()


def test_the_shares_of_classes_are_those_of_a_full_count():
  rng = np.random.default_rng(0)
  ratios = set()
  for _ in range(400):
    prob = rng.dirichlet([0.5] * 6)
    label = rng.choice([0, 1, 2, 3, 4, 255], p=prob, size=(9, 7)).astype(np.uint8)
    ratio = float(rng.choice([0.4, 0.5, 0.75, 0.95]))
    counts = np.bincount(label.ravel(), minlength=256)[:255]
    expected = np.count_nonzero(counts) > 1 and counts.max() / counts.sum() < ratio
    assert crop.is_varied(label, ratio) == expected
    ratios.add((ratio, bool(expected)))
  assert len(ratios) == 8
