import subprocess
import sys

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from jax_uda import data as data_lib
from jax_uda.data.datasets import base, camvid, catalog, image_files
from jax_uda.data.label_spaces import CAMVID11
from jax_uda.data.pipeline.examples import Examples, LabelledExamples, TargetExamples
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

STREETS = dict(name="streets", size=(8, 12), num_train=6, num_val=3)


def load(data, data_dir):
  return catalog.load_domains(**data, data_dir=data_dir)


def spec(source=(), target=(), cache_mbytes=1):
  return {
    "source": {**STREETS, "domain": "day", **dict(source)},
    "target": {**STREETS, "domain": "dusk", **dict(target)},
    "cache_mbytes": cache_mbytes,
  }


def test_domains_hold_what_training_and_evaluation_need(tmp_path, quick_streets):
  domains = load(spec(), tmp_path)
  assert domains.label_space is CAMVID11
  sizes = [
    len(getattr(domains, f"{d}_{s}")) for s in ("train", "val") for d in ("source", "target")
  ]
  assert sizes == [6, 6, 3, 3]
  for examples in (domains.source_train, domains.source_val, domains.target_val):
    assert {k: (v.shape, v.dtype) for k, v in examples[2].items()} == {
      "image": ((8, 12, 3), np.uint8),
      "label": ((8, 12), np.uint8),
    }
  assert list(domains.target_train[0]) == ["image"]
  assert (domains.source_train[0]["image"] != domains.target_train[0]["image"]).any()


def test_class_counts_are_those_of_the_labels_and_are_kept(tmp_path, quick_streets, monkeypatch):
  domains = load(spec(), tmp_path)
  counts = domains.source_train.class_counts
  for example, row in zip(domains.source_train, counts, strict=True):
    assert [np.sum(example["label"] == c) for c in range(11)] == row.tolist()
  np.testing.assert_allclose(domains.class_frequency, counts.sum(0) / counts.sum())

  def fail(*args, **kwargs):
    raise AssertionError("counted twice")

  monkeypatch.setattr(np, "bincount", fail)
  again = load(spec(), tmp_path)
  np.testing.assert_array_equal(again.source_train.class_counts, counts)


def test_the_same_folder_may_be_both_domains(tmp_path, small_camvid):
  both = dict(name="camvid", path=str(small_camvid), train=("train",), val=("val",))
  domains = load({"source": both, "target": both, "cache_mbytes": 0}, tmp_path)
  assert len(domains.target_train) == 4 and domains.class_frequency[0] > 0


class NoLabels(base.Builder, skip_registration=True):
  """Images whose labels cannot be decoded."""

  label_space = CAMVID11

  def _split_generators(self, dl_manager):
    image = image_files.encode_png(np.full((4, 4, 3), 9, np.uint8))
    return {"train": self.numbered("train", [base.Encoded("a", image, b"no label")] * 3, 3)}


def test_a_target_never_reads_a_label(tmp_path):
  config = tfds.core.BuilderConfig(name="x")
  folder = base.prepare(NoLabels(tmp_path, config))
  assert [example["image"].max() for example in TargetExamples(folder)] == [9] * 3
  with pytest.raises(ValueError, match="its label cannot be decoded"):
    LabelledExamples(folder, "train")[0]


def test_decoded_examples_are_kept_within_the_budget(tmp_path, small_camvid, monkeypatch):
  builder = camvid.builder(tmp_path, Role.SOURCE, path=small_camvid, train=("train",), val=("val",))
  folder = base.prepare(builder)
  decodes = []
  decode = cv2.imdecode
  monkeypatch.setattr(cv2, "imdecode", lambda *args: decodes.append(1) or decode(*args))
  size = 12 * 16 * 4
  for budget, expected in ((0, 16), (2 * size, 12), (4 * size, 8)):
    examples = Examples(folder, "train", fields=("image", "label"), cache_bytes=budget)
    first, second = list(examples), list(examples)
    assert len(decodes) == expected
    decodes.clear()
    for a, b in zip(first, second, strict=True):
      np.testing.assert_array_equal(a["image"], b["image"])
      np.testing.assert_array_equal(a["label"], b["label"])


def test_examples_cannot_be_changed_and_have_an_end(tmp_path, small_camvid):
  builder = camvid.builder(tmp_path, Role.SOURCE, path=small_camvid, train=("train",), val=("val",))
  examples = Examples(base.prepare(builder), "train", fields=("image", "label"))
  with pytest.raises(ValueError, match="read-only"):
    examples[0]["image"][0, 0] = 0
  with pytest.raises(IndexError, match="4 of 4"):
    examples[4]


@pytest.mark.parametrize(
  "source, message",
  (
    ({"name": "street"}, r"source\.name = 'street'.*mean 'streets'"),
    ({"name": ""}, r"source\.name = ''.*camvid, .*streets"),
    (
      {"num_trian": 3},
      r"source has no field 'num_trian'.*mean 'num_train'.*Known: domain",
    ),
    ({"domain": "dasy"}, r"source\.domain = 'dasy'.*mean 'day'"),
  ),
)
def test_mistakes_in_the_config_are_explained(tmp_path, quick_streets, source, message):
  with pytest.raises(ValueError, match=message):
    load(spec(source=source), tmp_path)


def test_a_missing_argument_is_named(tmp_path, small_camvid):
  with pytest.raises(ValueError, match=r"^missing a required (keyword-only )?argument: 'path'"):
    catalog.find_builder(dict(name="camvid", train=("train",)), tmp_path, Role.SOURCE)


def test_domains_with_different_classes_are_rejected(tmp_path, quick_streets, small_camvid):
  data = spec()
  data["target"] = dict(name="camvid", path=str(small_camvid), train=("train",), val=("val",))
  data["target"]["classes"] = "cityscapes19"
  with pytest.raises(
    ValueError, match=r"target has the classes of Cityscapes.*the source those of CamVid"
  ):
    load(data, tmp_path)


def test_a_batch_for_a_notebook_takes_plain_values(tmp_path, quick_streets):
  domains = load(spec(), tmp_path)
  settings = dict(batch_size=2, crop_size=(4, 6), seed=0, num_threads=0)
  stream = data_lib.batches(domains.source_train, domains.target_train, **settings)
  first, second = next(stream), next(stream)
  assert first["source"]["image"].shape == (2, 4, 6, 3) and list(first["target"]) == ["image"]
  stream.close()
  later = data_lib.batches(domains.source_train, domains.target_train, start_step=1, **settings)
  np.testing.assert_array_equal(next(later)["source"]["label"], second["source"]["label"])
  with pytest.raises(ValueError, match="^target_margins = "):
    data_lib.batches([], [], target_margins=(1,), **settings)


def test_the_package_imports_nothing_before_it_is_asked():
  code = "import sys, jax_uda.data, jax_uda.data.streets; print(*sys.modules)"
  run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
  assert not {"jax", "flax", "tensorflow_datasets", "grain"} & set(run.stdout.split())
  assert {"load_domains", "batches", "Role"} <= set(dir(data_lib))
  assert not hasattr(data_lib, "no_such_name")
