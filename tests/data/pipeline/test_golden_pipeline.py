"""The recorded rules of sampling, cropping and scoring hold for what comes out of the pipeline."""

import types

import numpy as np
import pytest
from golden_cases import assert_close, golden

from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline import crop
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.run import evaluation, metrics
from jax_uda.step.inference import Prediction

pytestmark = pytest.mark.fast

TARGET = [{"image": np.zeros((2, 2, 3), np.uint8)}]


class Numbered(list):
  """`count` images whose color is their number, with the pixel counts [F,C] given."""

  def __init__(self, class_counts):
    label = np.zeros((2, 2), np.uint8)
    super().__init__(
      {"image": np.full((2, 2, 3), number, np.uint8), "label": label}
      for number in range(len(class_counts))
    )
    self.class_counts = class_counts


@pytest.mark.parametrize("case", [c for c in golden("base/rcs") if "pixel_count" in c.values[0]])
def test_rare_classes_bring_their_images_as_often_as_the_reference_draws_them(case):
  lists, number = case.group("files_with_class_"), len(case.pixel_count)
  expected = np.zeros(number)
  drawn = [(p, lists[str(c)]) for c, p in zip(case.classes, case.class_prob, strict=True)]
  total = sum(p for p, files in drawn if len(files))  # a class without files is not drawn
  for p, files in drawn:
    np.add.at(expected, np.asarray(files, int), p / total / max(len(files), 1))
  sampling = RareClassSampling(
    temperature=float(case.temperature), min_pixels=int(case.min_pixels), crop_min_pixels=-1
  )
  source = Numbered(case.pixel_count)
  settings = pipeline.BatchSettings(
    batch_size=500, crop_size=(2, 2), seed=0, rare_class=sampling, cat_max_ratio=1.0
  )
  batches = pipeline.training_batches(source, TARGET, settings)
  actual = np.concatenate([batches[step]["source"]["image"][:, 0, 0, 0] for step in range(8)])
  shares = np.bincount(actual, minlength=number) / len(actual)
  assert not shares[expected == 0].any()
  assert_close(shares, expected, rtol=0, atol=4 * np.sqrt(expected.max() / len(actual)))


@pytest.mark.parametrize("case", golden("base/crop_accept"))
def test_with_the_recorded_boxes_a_batch_holds_the_recorded_crop(case, monkeypatch):
  boxes = [crop.Window(y1, x1, y2 - y1, x2 - x1) for y1, y2, x1, x2 in case.seq_boxes_y1y2x1x2]
  recorded, draw_any = iter(boxes), crop.draw_window
  of_source = lambda size: size == case.seq_label.shape
  monkeypatch.setattr(
    crop,
    "draw_window",
    lambda size, *rest: next(recorded) if of_source(size) else draw_any(size, *rest),
  )
  image = np.repeat(case.seq_label[..., None], 3, -1)
  batches = pipeline.training_batches(
    [{"image": image, "label": case.seq_label}],
    TARGET,
    pipeline.BatchSettings(
      batch_size=1,
      crop_size=case.seq_result.shape,
      seed=0,
      cat_max_ratio=float(case.cat_max_ratio),
      flip=False,
    ),
  )
  actual = batches[0]["source"]
  assert next(recorded, None) is None  # all boxes are drawn, none more
  np.testing.assert_array_equal(actual["label"][0], case.seq_result)
  np.testing.assert_array_equal(actual["image"][0, ..., 0], case.seq_result)


@pytest.mark.parametrize("case", golden("base/miou"))
def test_scores_of_evaluation_batches_are_the_recorded_ones(case):
  for part in case.parts():
    # The "image" is what the network predicts for it.
    images = [
      {
        "image": np.repeat(part[f"pred{i}"][..., None], 3, -1).astype(np.uint8),
        "label": part[f"gt{i}"].astype(np.uint8),
      }
      for i in range(int(part.n_images))
    ]
    echo = lambda _, images, inference, size: Prediction(images[..., 0], images[..., 0])
    learner = types.SimpleNamespace(predict=echo)
    counts = evaluation.confusion_of(learner, {}, images, int(part.num_classes), batch_size=2)
    np.testing.assert_array_equal(counts, part.confusion_gt_pred)
    np.testing.assert_allclose(metrics.mean_iou(counts), part.mIoU_nanmean, rtol=1e-9)
