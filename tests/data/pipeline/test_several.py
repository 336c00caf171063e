"""Several data sets as one domain: how often each is drawn, and by which statistics."""

import numpy as np
import pytest

from jax_uda import data
from jax_uda.data.pipeline import crop
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.data.pipeline.several import Several, join

pytestmark = pytest.mark.fast
SIZE = (8, 8)


class Images(list):
  """A data set whose images all have one gray, with labels in stripes."""

  fields = ("image", "label")

  def __init__(self, gray, number, classes):
    label = np.repeat(np.array(classes, np.uint8), 8 // len(classes) * 8).reshape(SIZE)
    image = np.full((*SIZE, 3), gray, np.uint8)
    super().__init__([{"image": image, "label": label}] * number)
    counts = np.bincount(label.ravel(), minlength=4)
    self.class_counts = np.tile(counts, (number, 1))
    self.names = [f"{gray}_{i}" for i in range(number)]
    self.names_digest = str(gray)


def grays(batches, domain, steps):
  images = [batches[step][domain]["image"] for step in range(steps)]
  return np.concatenate(images)[:, 4, 4, 0]


def draw(source, target, **settings):
  from jax_uda.data.pipeline.batching import BatchSettings, training_batches

  settings = BatchSettings(batch_size=50, crop_size=SIZE, seed=0, cat_max_ratio=1.0, **settings)
  return training_batches(source, target, settings)


SETS = (Images(10, 30, (0, 1)), Images(200, 10, (2, 3)))


def test_sets_are_drawn_by_size_or_by_share():
  by_size = grays(draw(Several(SETS), Several(SETS)), "target", 8)
  assert (by_size == 200).mean() == 0.25  # each image once per epoch
  by_share = draw(Several(SETS, (1, 3)), Several(SETS, (1, 3)))
  for domain in ("source", "target"):
    assert (grays(by_share, domain, 20) == 200).mean() == pytest.approx(0.75, abs=0.05)


def test_rare_classes_are_drawn_with_the_statistics_of_each_set():
  # Over both sets together, classes 2 and 3 would be the rare ones and be drawn nearly always.
  sampling = RareClassSampling(temperature=0.01, min_pixels=1, crop_min_pixels=1)
  by_size = draw(Several(SETS), Several(SETS), rare_class=sampling)
  assert (grays(by_size, "source", 20) == 200).mean() == pytest.approx(0.25, abs=0.05)
  by_share = draw(Several(SETS, (1, 1)), Several(SETS), rare_class=sampling)
  assert (grays(by_share, "source", 20) == 200).mean() == pytest.approx(0.5, abs=0.06)


def test_a_batch_is_a_function_of_its_number():
  sampling = RareClassSampling(temperature=0.01, min_pixels=1, crop_min_pixels=1)
  for settings in ({}, {"rare_class": sampling}):
    batches = draw(Several(SETS, (1, 2)), Several(SETS), **settings)
    for domain in ("source", "target"):
      np.testing.assert_array_equal(
        batches[3][domain]["image"],
        draw(Several(SETS, (1, 2)), Several(SETS), **settings)[3][domain]["image"],
      )


def test_a_single_set_stays_itself_and_several_are_one_sequence():
  assert join(SETS[:1]) is SETS[0]
  both = join(SETS)
  assert len(both) == 40 and both[29] is SETS[0][0] and both[30] is SETS[1][0]
  assert both.names[30] == "200_0" and both.fields == ("image", "label")
  assert both.class_counts.shape == (40, 4) and both.sizes() == [SIZE] * 40
  assert both.names_digest and both.names_digest != join(SETS[::-1]).names_digest
  with pytest.raises(IndexError):
    both[40]


def test_margins_are_pixels_or_shares_of_each_image():
  shares = (0.03, 0.25, 0.03, 0.03)
  np.testing.assert_array_equal(
    crop.margin_mask((1024, 2048), shares), crop.margin_mask((1024, 2048), (30, 256, 61, 61))
  )
  mask = crop.margin_mask((200, 100), shares)
  assert mask[5].sum() == 0 and mask[6].sum() == 94 and mask[149].any() and not mask[150].any()
  assert crop.margin_mask((20, 20), (0, 0, 0, 0)).all()


def test_an_image_comes_out_of_batches(tmp_path):
  batch = next(
    data.batches(Several(SETS), Several(SETS), batch_size=2, crop_size=SIZE, seed=0, num_threads=0)
  )
  assert batch["source"]["image"].shape == (2, *SIZE, 3)
