"""Scores as VFM-UDA++'s authors count them: labels at one shorter side, and absent classes as 0."""

import numpy as np
import pytest
import tiny_recipe

from jax_uda.data import label_spaces
from jax_uda.run import evaluation, recipes
from jax_uda.run import settings as settings_lib
from jax_uda.run.label_size import LabelsAt

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
  "before, after", [((4, 6), (8, 12)), ((6, 4), (12, 8)), ((3, 7), (8, 18)), ((16, 16), (8, 8))]
)
def test_labels_keep_their_shape_and_get_one_shorter_side(before, after):
  label = np.arange(before[0] * before[1], dtype=np.uint8).reshape(before)
  examples = LabelsAt([{"image": np.zeros((*before, 3)), "label": label}], 8)
  assert examples[0]["label"].shape == after and examples.sizes("label") == [after]
  assert examples.sizes("image") == [before]
  assert set(np.unique(examples[0]["label"])) <= set(label.ravel().tolist())


def test_absent_classes_count_as_zero_if_asked():
  counts = np.zeros((19, 19), np.int64)
  counts[0, 0] = counts[1, 1] = 5
  score = lambda **options: evaluation.scores(counts, label_spaces.CITYSCAPES19, **options)["miou"]
  assert score() == 1 and score(absent_as_zero=True) == pytest.approx(2 / 19, abs=1e-6)


def test_settings_of_the_counting():
  config = tiny_recipe.get_config()
  plain = settings_lib.from_config(config).evaluation
  assert plain.label_size is None and not plain.absent_as_zero
  config.eval.label_size, config.eval.absent_classes = ("short", 1024), "zero"
  theirs = settings_lib.from_config(config).evaluation
  assert theirs.label_size == 1024 and theirs.absent_as_zero
  for field, value, sentence in (
    (
      "label_size",
      ("short", 0),
      r"eval.label_size = \('short', 0\) must be e\.g\. \('short', 1024\)",
    ),
    ("label_size", ("long", 9, 9), "eval.label_size = .* must be"),
    ("absent_classes", "one", "eval.absent_classes = 'one' is unknown"),
  ):
    wrong = config.copy_and_resolve_references()
    wrong.eval[field] = value
    with pytest.raises(ValueError, match=sentence):
      settings_lib.from_config(wrong)
  fields = [("eval.label_size", "('short', 1024)"), ("eval.absent_classes", "zero")]
  assert settings_lib.from_config(recipes.load("demo", fields)).evaluation.label_size == 1024
