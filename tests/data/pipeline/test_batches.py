import hashlib
import itertools

import jax
import numpy as np
import pytest

from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import base, camvid
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline import class_balance
from jax_uda.data.pipeline.examples import LabelledExamples, TargetExamples
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

SIZE = (8, 12)
SAMPLING = RareClassSampling(temperature=0.05, min_pixels=1, crop_min_pixels=2)


class Fake(list):
  """A list of examples with `class_counts`."""

  @property
  def class_counts(self):
    return np.stack([np.bincount(e["label"].ravel(), minlength=5)[:5] for e in self])


def examples(number, size=SIZE, seed=0):
  """Channel 0 repeats the label, channels 1 and 2 say which image and which column it is."""
  rng = np.random.default_rng(seed)
  originals = Fake()
  for i in range(number):
    label = rng.integers(0, 3, size).astype(np.uint8)
    label[0, 0] = 255
    columns = np.broadcast_to(np.arange(size[1]), size)
    image = np.stack([label, np.full(size, i), columns], -1).astype(np.uint8)
    originals.append({"image": image, "label": label})
  return originals


def images(number, seed=1):
  return [{"image": example["image"]} for example in examples(number, seed=seed)]


def batches(source=None, target=None, *, process_index=0, process_count=1, **kwargs):
  settings = pipeline.BatchSettings(**dict(batch_size=4, crop_size=(6, 8), seed=3) | kwargs)
  source, target = (
    examples(6) if source is None else source,
    images(5) if target is None else target,
  )
  return pipeline.training_batches(
    source, target, settings, process_index=process_index, process_count=process_count
  )


def assert_equal(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_batch_has_the_stated_form():
  batch = batches()[7]
  assert jax.tree.map(lambda x: (x.shape, x.dtype), batch) == {
    "source": {"image": ((4, 6, 8, 3), np.uint8), "label": ((4, 6, 8), np.uint8)},
    "target": {"image": ((4, 6, 8, 3), np.uint8)},
  }


@pytest.mark.parametrize("rare_class", (None, SAMPLING))
@pytest.mark.parametrize("num_threads", (0, 4))
def test_a_batch_depends_on_its_step_alone(rare_class, num_threads):
  wanted = [batches(rare_class=rare_class)[step] for step in range(5, 9)]
  iterator = pipeline.iterate(batches(rare_class=rare_class), 5, num_threads=num_threads)
  for expected, batch in zip(wanted, iterator, strict=False):
    assert_equal(batch, expected)
  iterator.close()


def test_class_balanced_draws_follow_their_order_and_exclude_rare_class_sampling():
  order = class_balance.BalancedOrder(examples(6).class_counts, seed=3)
  for step in (4, 0):
    actual = batches(class_balanced=True)[step]["source"]["image"][:, 0, 0, 1]
    assert actual.tolist() == [order[4 * step + row] for row in range(4)]
  with pytest.raises(ValueError, match="exclude each other"):
    batches(class_balanced=True, rare_class=SAMPLING)


def test_an_interrupted_iterator_and_its_successor_give_the_stream_of_one():
  whole = [batches(rare_class=SAMPLING)[step] for step in range(6)]
  actual = []
  for start, stop, num_threads in ((0, 2, 4), (2, 6, 0)):
    iterator = pipeline.iterate(batches(rare_class=SAMPLING), start, num_threads=num_threads)
    actual += [next(iterator) for _ in range(start, stop)]
    iterator.close()
  for a, b in zip(actual, whole, strict=True):
    assert_equal(a, b)


def test_threads_read_files_as_one_thread_does(tmp_path, small_camvid):
  builder = camvid.builder(tmp_path, Role.SOURCE, path=small_camvid, train=("train",), val=("val",))
  folder = base.prepare(builder)
  one_image = 12 * 16 * 4

  def stream(num_threads):
    source = LabelledExamples(folder, "train", cache_bytes=2 * one_image)
    target = TargetExamples(folder)
    iterator = pipeline.iterate(batches(source, target), num_threads=num_threads)
    actual = [next(iterator) for _ in range(12)]
    iterator.close()
    return actual

  for a, b in zip(stream(0), stream(4), strict=True):
    assert_equal(a, b)


@pytest.mark.parametrize(
  "rare_class, expected", ((None, "6f96b55b32ede1cb"), (SAMPLING, "152d5d28c0d6521c"))
)
def test_the_stream_is_the_same_everywhere(rare_class, expected):
  """On every version of Python and NumPy, or a run would continue with other images elsewhere."""
  digest = hashlib.sha256()
  for step in (0, 1, 10**6):
    for leaf in jax.tree.leaves(batches(rare_class=rare_class)[step]):
      digest.update(np.ascontiguousarray(leaf).tobytes())
  assert digest.hexdigest()[:16] == expected


def test_steps_and_seeds_differ():
  actual = [batches()[0], batches()[1], batches(seed=4)[0]]
  for a, b in itertools.combinations(actual, 2):
    assert (a["source"]["image"] != b["source"]["image"]).any()
    assert (a["target"]["image"] != b["target"]["image"]).any()


@pytest.mark.parametrize("rare_class", (None, SAMPLING))
def test_the_rows_of_two_processes_are_those_of_one(rare_class):
  make = lambda **kwargs: batches(rare_class=rare_class, **kwargs)[3]
  halves = [make(process_index=i, process_count=2) for i in range(2)]
  assert_equal(jax.tree.map(lambda *rows: np.concatenate(rows), *halves), make())


def test_a_batch_that_cannot_be_split_is_an_error():
  with pytest.raises(ValueError, match=r"^batch_size = 4 .*3 processes; use a multiple of 3"):
    batches(process_count=3)


def test_an_empty_domain_is_an_error():
  with pytest.raises(ValueError, match="no training images"):
    batches(target=[])


@pytest.mark.parametrize(
  "change", ({"rare_class": SAMPLING}, {"cat_max_ratio": 0.4}, {"source": examples(3, seed=9)})
)
def test_the_target_does_not_depend_on_the_source(change):
  for step in range(3):
    assert_equal(batches(**change)[step]["target"], batches()[step]["target"])


def test_source_and_target_are_drawn_and_cropped_independently():
  same = examples(6)
  actual = batches(same, same)
  rows = [actual[step] for step in range(20)]
  of = lambda domain: np.concatenate([row[domain]["image"][:, 0, 0, 1:] for row in rows])
  source, target = of("source"), of("target")
  assert 0.05 < (source[:, 0] == target[:, 0]).mean() < 0.4  # image; 1/6 by chance
  assert (source[:, 1] == target[:, 1]).mean() < 0.4  # first column


def test_labels_of_the_target_change_nothing():
  with_labels = batches(target=examples(5, seed=1))
  for step in range(3):
    assert_equal(with_labels[step]["target"], batches()[step]["target"])


@pytest.mark.parametrize("domain", ("source", "target"))
def test_each_image_is_drawn_once_an_epoch_in_changing_order(domain):
  actual = batches(target=images(6), batch_size=3)
  drawn = np.concatenate([actual[step][domain]["image"][:, 0, 0, 1] for step in range(8)])
  epochs = drawn.reshape(4, 6)
  np.testing.assert_array_equal(np.sort(epochs), np.tile(np.arange(6), (4, 1)))
  assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_label_follows_the_image_through_crop_and_flip():
  actual, mirrored = batches(), []
  for step in range(10):
    source = actual[step]["source"]
    np.testing.assert_array_equal(source["image"][..., 0], source["label"])
    steps = np.diff(source["image"][..., 2].astype(int), axis=-1)  # of the column
    assert (abs(steps) == 1).all()
    mirrored.extend(steps[:, 0, 0] < 0)
  assert 0.2 < np.mean(mirrored) < 0.8


def test_without_flip_nothing_is_mirrored():
  image = batches(flip=False)[0]["target"]["image"]
  assert (np.diff(image[..., 2].astype(int), axis=-1) == 1).all()


def test_a_small_image_is_padded_after_the_flip():
  batch = batches(examples(6, size=(4, 5)), crop_size=(6, 8))[0]["source"]
  assert (batch["label"][:, 4:] == 255).all() and (batch["label"][:, :, 5:] == 255).all()
  assert (batch["image"][:, :, 5:] == (124, 116, 104)).all()


def with_a_rare_class(number=20):
  """Class 4 has four pixels in a corner of image 11."""
  originals = examples(number)
  originals[11]["label"][6:, 10:] = 4
  originals[11]["image"][..., 0] = originals[11]["label"]
  return originals


def test_rare_classes_are_favoured_and_kept_in_the_crop():
  source = with_a_rare_class()
  share = {}
  for name, rare_class in (("uniform", None), ("rare", SAMPLING)):
    actual = batches(source, rare_class=rare_class)
    labels = np.concatenate([actual[step]["source"]["label"] for step in range(25)])
    share[name] = (labels == 4).any((1, 2)).mean()
  # A crop holds the corner with probability 1/15, of eleven at least one does with more than 1/2.
  assert share["uniform"] < 0.05 and share["rare"] > 0.4


def test_the_last_crop_is_kept_when_none_holds_enough():
  never = RareClassSampling(temperature=0.05, min_pixels=1, crop_min_pixels=1000)
  assert batches(rare_class=never)[0]["source"]["label"].shape == (4, 6, 8)


class Half(Fake):
  """An image whose left half is class 0 and whose right half is class 4, pixel by pixel."""

  def __getitem__(self, index):
    label = np.zeros((8, 40), np.uint8)
    label[:, 20:] = 4
    return {"image": np.stack([label] * 3, -1), "label": label}


def test_joint_tries_ask_for_the_class_and_for_variety_at_once():
  accepted = {}
  for joint in (False, True):
    sampling = RareClassSampling(
      temperature=0.05, min_pixels=1, crop_min_pixels=20, tries=99, joint_tries=joint
    )
    actual = batches(Half([{"label": Half()[0]["label"]}] * 3), rare_class=sampling)
    labels = np.concatenate([actual[step]["source"]["label"] for step in range(8)])
    share = np.maximum((labels == 4).mean((1, 2)), (labels == 0).mean((1, 2)))
    accepted[joint] = (share < 0.75).mean()
  # Of 33 places two are right. Where the tries are apart, the tenth redraw passes unchecked.
  assert accepted[True] == 1 and accepted[False] < 0.95


def test_the_number_of_tries_is_a_setting():
  never = dict(temperature=0.05, min_pixels=1, crop_min_pixels=1000)
  one, many = (batches(rare_class=RareClassSampling(**never, tries=n))[0] for n in (1, 9))
  assert not np.array_equal(one["source"]["image"], many["source"]["image"])
  with pytest.raises(SettingError, match="tries = 0 must be at least 1"):
    RareClassSampling(tries=0)


@pytest.mark.parametrize("rare_class", (None, SAMPLING))
def test_source_images_and_labels_are_scaled_together_before_the_crop(rare_class):
  plain = batches(rare_class=rare_class)
  actual = batches(rare_class=rare_class, source_scale=(2.0, 2.0))
  assert_equal(actual[0]["target"], plain[0]["target"])
  image, label = actual[0]["source"]["image"], actual[0]["source"]["label"]
  assert image.shape[1:3] == (6, 8)
  # Twice as large: neighbours in a pair of columns show the same column of the label.
  pairs = (label[:, :, 1:-1:2] == label[:, :, 2::2]).all((1, 2)) | (
    label[:, :, ::2] == label[:, :, 1::2]
  ).all((1, 2))
  assert pairs.all()


@pytest.mark.parametrize("scale", [(0.9,), (1.1, 0.9), (0.0, 1.0)])
@pytest.mark.parametrize("name", ["source_scale", "target_scale"])
def test_a_scale_that_is_no_range_is_refused(name, scale):
  with pytest.raises(SettingError, match=rf"{name} = \(.*must be \(least, largest\)"):
    batches(**{name: scale})


def test_whole_target_images_are_mirrored_and_not_cropped():
  actual = np.concatenate([batches(crop_target=False)[t]["target"]["image"] for t in range(10)])
  assert actual.shape == (40, *SIZE, 3)
  columns = np.arange(SIZE[1])
  mirrored = (actual[:, :, 0, 2] == SIZE[1] - 1).all(1)
  np.testing.assert_array_equal(
    actual[~mirrored][..., 2], np.broadcast_to(columns, SIZE)[None].repeat((~mirrored).sum(), 0)
  )
  assert 0.2 < mirrored.mean() < 0.8
  for step in range(3):
    assert_equal(batches(crop_target=False)[step]["source"], batches()[step]["source"])


def test_whole_target_images_of_several_sizes_are_an_error():
  mixed = [*images(2), *({"image": e["image"]} for e in examples(2, size=(9, 12)))]
  originals = batches(target=mixed, crop_target=False)
  with pytest.raises(ValueError, match=r"crop_target = False .*first has \(8, 12\) .*\(9, 12\)"):
    originals[0]
  with pytest.raises(ValueError, match="no training images"):
    batches(target=[], crop_target=False)


@pytest.mark.parametrize("crop_target", (True, False))
def test_the_day_image_is_cropped_and_mirrored_with_the_image(crop_target):
  paired = [{"image": e["image"], "day_image": 255 - e["image"]} for e in images(5)]
  for step in range(5):
    target = batches(target=paired, crop_target=crop_target, crop_size=(6, 8))[step]["target"]
    np.testing.assert_array_equal(target["day_image"], 255 - target["image"])
    alone = batches(crop_target=crop_target)[step]["target"]
    np.testing.assert_array_equal(target["image"], alone["image"])


def test_a_day_image_of_another_size_is_an_error():
  paired = [{"image": e["image"], "day_image": e["image"][:5]} for e in images(2)]
  with pytest.raises(ValueError, match=r"differ in size.*\(5, 12\)"):
    batches(target=paired)[0]


def test_margins_of_the_target_follow_the_crop_and_padding_is_not_valid():
  margins = (1, 2, 3, 4)  # top, bottom, left, right of images of 8x12 pixels
  rows = lambda image: np.broadcast_to(np.arange(SIZE[0])[:, None], SIZE)
  target = [
    {"image": np.stack([rows(0), rows(0), e["image"][..., 2]], -1).astype(np.uint8)}
    for e in images(3)
  ]
  originals = batches(target=target, target_margins=margins, crop_size=(6, 14))
  for step in range(5):
    batch = originals[step]["target"]
    row, column = batch["image"][..., 0], batch["image"][..., 2]
    inside = (row >= 1) & (row < 6) & (column >= 3) & (column < 8)
    assert batch["valid"].dtype == np.uint8
    np.testing.assert_array_equal(batch["valid"][:, :, :12], inside[:, :, :12])
    assert not batch["valid"][:, :, 12:].any()
  with pytest.raises(ValueError, match=r"target_margins = \(1, 2\) must be \(top"):
    batches(target_margins=(1, 2))


def test_evaluation_batches_hold_every_example_once_in_order():
  originals = [*examples(5), *examples(2, size=(4, 4)), *examples(1)]
  actual = list(pipeline.evaluation_batches(originals, 2))
  assert [len(batch["image"]) for batch in actual] == [2, 2, 1, 2, 1]
  for name in ("image", "label"):
    rows = [row for batch in actual for row in batch[name]]
    for row, example in zip(rows, originals, strict=True):
      np.testing.assert_array_equal(row, example[name])


def test_evaluation_labels_may_be_larger_than_images_and_differ_in_size():
  image = examples(1)[0]["image"]
  originals = [{"image": image, "label": np.zeros(size)} for size in ((9, 9), (9, 9), (5, 4))]
  actual = [batch["label"].shape for batch in pipeline.evaluation_batches(originals, 3)]
  assert actual == [(2, 9, 9), (1, 5, 4)]


def test_a_closed_iterator_is_finished():
  iterator = pipeline.iterate(batches(), 0)
  next(iterator)
  iterator.close()
  with pytest.raises(ValueError):
    next(iterator)
