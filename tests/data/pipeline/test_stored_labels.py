import json

import numpy as np
import pytest

from jax_uda.data.datasets import image_files
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline import rescale, stored_labels

pytestmark = pytest.mark.fast

SIZE = (6, 10)
IMAGES = [np.full((*SIZE, 3), i, np.uint8) for i in range(3)]


class Images(list):
  """Training images with names."""

  names_digest = "ours"


@pytest.fixture
def labelled(tmp_path):
  """Three images, labelled by their left half 0 and right half 1 at twice their size."""
  (tmp_path / "labels").mkdir()
  (tmp_path / "thresholds.json").write_text(json.dumps({"images": 3, "names": "ours"}))
  label = np.repeat(np.array([[0, 1]], np.uint8), 10, 1).repeat(12, 0)
  for i in range(3):
    stored_labels.label_path(tmp_path, i).write_bytes(image_files.encode_png(label))
  examples = Images({"image": image, "label": np.full(SIZE, 7, np.uint8)} for image in IMAGES)
  return stored_labels.PseudoLabelled(examples, tmp_path, "labels")


def test_labels_are_brought_to_the_size_of_their_image(labelled):
  expected = np.repeat(np.array([[0, 1]]), 5, 1).repeat(6, 0)
  assert len(labelled) == 3
  np.testing.assert_array_equal(labelled[1]["pseudo_label"], expected)


def test_nearest_takes_the_pixel_at_the_centre():
  label = np.arange(6, dtype=np.uint8).reshape(1, 6)
  np.testing.assert_array_equal(stored_labels.nearest(label, (1, 3)), [[1, 3, 5]])
  np.testing.assert_array_equal(stored_labels.nearest(label, (1, 2)), [[1, 4]])


@pytest.mark.parametrize("scale", (None, (0.8, 1.5)))
def test_a_batch_has_the_files_labels_and_never_the_data_sets(labelled, scale):
  source = [{"image": image, "label": np.zeros(SIZE, np.uint8)} for image in IMAGES]
  settings = pipeline.BatchSettings(batch_size=3, crop_size=(4, 10), seed=0, target_scale=scale)
  batches = pipeline.training_batches(source, labelled, settings)
  labels = batches[0]["target"]["label"]
  assert labels.shape == (3, 4, 10)
  assert set(np.unique(labels)) - {255} == {0, 1}


def test_another_data_set_is_refused(labelled, tmp_path):
  with pytest.raises(ValueError, match="'labels': .* is for 3 images, the target has 1"):
    stored_labels.PseudoLabelled(Images([{"image": IMAGES[0]}]), tmp_path, "labels")
  others = Images({"image": image} for image in IMAGES)
  others.names_digest = "others"
  with pytest.raises(ValueError, match="'labels': .* is for other images than the target has now"):
    stored_labels.PseudoLabelled(others, tmp_path, "labels")


def test_images_and_labels_are_scaled_together():
  example = {"image": np.zeros((4, 8, 3), np.uint8), "label": np.eye(4, 8, dtype=np.uint8)}
  actual = rescale.scale_example(example, 1.5)
  assert actual["image"].shape == (6, 12, 3) and actual["label"].shape == (6, 12)
  assert set(np.unique(actual["label"])) == {0, 1}
