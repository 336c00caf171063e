import json

import numpy as np
import pytest

from jax_uda.data import label_spaces
from jax_uda.data.pipeline import class_stats

pytestmark = pytest.mark.fast

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
  counts = class_stats.read(path, NAMES, label_spaces.CITYSCAPES19)
  np.testing.assert_array_equal(counts, expected)
  assert counts.dtype == np.int64


@pytest.mark.parametrize("classes", label_spaces.KNOWN)
def test_counts_move_to_the_classes_that_labels_are_translated_to(tmp_path, classes):
  space = label_spaces.KNOWN[classes]
  path = tmp_path / "stats.json"
  row = {str(c): 10**c for c in range(19)}
  path.write_text(json.dumps({"a.png": row}))
  expected = np.zeros(space.num_classes, np.int64)
  for name, pixels in zip(label_spaces.CITYSCAPES19.names, row.values(), strict=True):
    if name in space.names:
      expected[space.names.index(name)] += pixels
  counts = class_stats.read(path, ["a.png"], space)
  if classes != "camvid11":  # there several classes become one
    np.testing.assert_array_equal(counts, [expected])
  assert counts[0, space.names.index("person")] == 10**11
  merged = 10**18 + (10**17 + 10**12 if classes == "camvid11" else 0)
  assert counts[0, space.names.index("bicycle")] == merged and counts.dtype == np.int64


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
    class_stats.read(path, NAMES, label_spaces.CITYSCAPES19)
