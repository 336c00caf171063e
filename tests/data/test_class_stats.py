import json

import numpy as np
import pytest

from jax_uda.data import class_stats

NAMES = ("ulm_000001_000019_leftImg8bit.png", "bonn_000000_000019_leftImg8bit.png")
STATS = [
  {"0": 90, "18": 7, "file": "data/gtFine/train/bonn/bonn_000000_000019_gtFine_labelTrainIds.png"},
  {"3": 4000000000, "file": "data/gtFine/train/ulm/ulm_000001_000019_gtFine_labelTrainIds.png"},
]
FORMS = {
  "list": STATS,
  "dict": {entry["file"]: {k: v for k, v in entry.items() if k != "file"} for entry in STATS},
}


@pytest.mark.parametrize("form", FORMS)
def test_the_reference_s_files_are_matched_by_name(tmp_path, form):
  path = tmp_path / "stats.json"
  path.write_text(json.dumps(FORMS[form]))
  expected = np.zeros((2, 19), np.int64)
  expected[1, 0], expected[1, 18], expected[0, 3] = 90, 7, 4_000_000_000
  counts = class_stats.read(path, NAMES, 19)
  np.testing.assert_array_equal(counts, expected)
  assert counts.dtype == np.int64


@pytest.mark.parametrize(
  "image, label",
  (
    ("00001.png", "gta/labels/00001_labelTrainIds.png"),
    ("0000002.png", "GT/LABELS/0000002.png"),
    ("a/ulm_1_leftImg8bit.png", "ulm_1_gtFine_labelIds.png"),
    ("N1_2_rgb_anon.png", "N1_2_gt_labelTrainIds.png"),
    ("b1.jpg", "b1.png"),
  ),
)
def test_images_and_labels_share_their_key(image, label):
  assert class_stats.key(image) == class_stats.key(label)
  assert class_stats.key(image) not in ("", image)


@pytest.mark.parametrize(
  "content, message",
  (
    (None, "cannot be read as class statistics"),
    ("{", "cannot be read as class statistics"),
    (json.dumps([{"0": 1}]), "cannot be read as class statistics: KeyError"),
    (json.dumps([1]), "cannot be read as class statistics"),
    (json.dumps(STATS[:1]), "lacks 1 of 2 images, the first: ulm_000001"),
    (json.dumps([{"19": 1, "file": "a.png"}]), r"classes that are not in 0\.\.18"),
  ),
)
def test_files_that_do_not_fit_are_explained(tmp_path, content, message):
  path = tmp_path / "stats.json"
  if content:
    path.write_text(content)
  with pytest.raises(ValueError, match=message):
    class_stats.read(path, NAMES, 19)
