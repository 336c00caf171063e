"""Data sets of one's own, in a few lines; and the names under which data sets are prepared."""

import pathlib
import re
import shutil
import sys
import types

import buckets
import miniatures
import numpy as np
import pytest

from jax_uda import data
from jax_uda.data import label_spaces
from jax_uda.data.datasets import base, catalog
from jax_uda.data.pipeline.examples import LabelledExamples, TargetExamples
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

FARM = data.Layout(
  title="Farm: fields/*.png, masks/*.png",
  label_space=label_spaces.make("Farm (3 classes)", ("soil", "crop", "weed"), things=(2,)),
  splits={
    "train": ((data.Part("fields/train", "masks/train"),),),
    "val": ((data.Part("fields/val", "masks/val"),),),
  },
  image_endings=(".png",),
  labels=(data.Labels("_mask.png", label_spaces.table((7, (1, 2), 5)), num_ids=10),),
)


@pytest.fixture
def farm(tmp_path, monkeypatch):
  """A farm on disk, whose module can be imported; returns its description for a config."""
  ids = np.resize((7, 1, 2, 5, 0), 20)
  for split, names in (("train", ("a/1", "a/2", "b/1")), ("val", ("a/3",))):
    for number, name in enumerate(names):
      miniatures.write_image(tmp_path / f"farm/fields/{split}/{name}.png", number)
      label = miniatures.columns(ids)
      miniatures.write_grey(tmp_path / f"farm/masks/{split}/{name}_mask.png", label)
  module = types.ModuleType("my_data")
  module.farm = data.DataSet("farm", FARM)
  monkeypatch.setitem(sys.modules, "my_data", module)
  return dict(name="my_data:farm", path=str(tmp_path / "farm"))


def test_a_layout_of_ones_own_is_both_domains_of_a_run(tmp_path, farm):
  domains = data.load_domains(farm, farm, data_dir=tmp_path / "data", cache_mbytes=1)
  assert domains.label_space.names == ("soil", "crop", "weed")
  assert domains.label_space.subsets["things"] == (2,)
  assert [len(domains.source_train), len(domains.target_val)] == [3, 1]
  expected = np.resize((0, 1, 1, 2, 255), 20)
  np.testing.assert_array_equal(domains.source_train[1]["label"][0], expected)
  np.testing.assert_allclose(domains.class_frequency, (1 / 4, 2 / 4, 1 / 4))
  assert [list(example) for example in domains.target_train] == [["image"]] * 3


def test_some_files_of_a_split_may_be_selected(tmp_path, farm):
  train = ("train/b", "train/a", "train/1")
  builder = catalog.find_builder(farm | dict(train="train/1"), tmp_path, Role.SOURCE)
  pairs = builder.find_pairs()
  assert [pair.image.parent.name for pair in pairs["train"]] == ["a", "b"]
  some = catalog.find_builder(farm | dict(train=train[2:]), tmp_path, Role.SOURCE)
  assert [pair.image for pair in some.find_pairs()["train"]] == [p.image for p in pairs["train"]]


def test_labels_may_be_translated_to_known_classes(tmp_path, farm):
  builder = catalog.find_builder(farm | dict(classes="cityscapes19"), tmp_path, Role.SOURCE)
  label = LabelledExamples(base.prepare(builder), "val")[0]["label"]
  assert (label == 255).all()  # Cityscapes has no fields


def test_other_label_ids_make_another_prepared_data_set(tmp_path, farm):
  names = set()
  for ids in ((7, (1, 2), 5), (7, 1, 5), (5, (1, 2), 7)):
    layout = data.Layout(
      title=FARM.title,
      label_space=FARM.label_space,
      splits=FARM.splits,
      image_endings=FARM.image_endings,
      labels=(data.Labels("_mask.png", label_spaces.table(ids), num_ids=10),),
    )
    make = data.DataSet("farm", layout)
    names.add(make(tmp_path, Role.SOURCE, path=farm["path"]).settings.name)
  assert len(names) == 3


@pytest.mark.parametrize(
  "name, message",
  (
    ("my_data:barn", r"^target\.name = 'my_data:barn' cannot be imported .*must be 'module:name'"),
    ("no_such_module:farm", r"^target\.name = 'no_such_module:farm' cannot be imported"),
    ("farm", r"^target\.name = 'farm' is unknown\..* Known: acdc, "),
  ),
)
def test_a_name_that_cannot_be_imported_is_explained(tmp_path, farm, name, message):
  with pytest.raises(ValueError, match=message):
    data.load_domains(farm, farm | dict(name=name), data_dir=tmp_path)


def test_the_example_in_the_documentation_is_such_a_data_set(tmp_path, farm):
  text = (pathlib.Path(__file__).parents[3] / "docs" / "own_data.md").read_text()
  (code,) = (c for c in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "Layout(" in c)
  names = {}
  exec(code, names)
  builder = names["farm"](tmp_path, Role.SOURCE, path=farm["path"])
  assert builder.label_space.names == ("soil", "crop", "weed")
  label = LabelledExamples(base.prepare(builder), "val")[0]["label"]
  np.testing.assert_array_equal(label[0], np.resize((0, 1, 1, 2, 255), 20))


def test_only_the_source_opens_training_labels():
  assert [role for role in Role if role.opens_training_labels] == [Role.SOURCE]
  assert [role for role in Role if role.is_trained_on] == [Role.SOURCE, Role.TARGET]


def test_the_training_images_of_a_target_have_no_field_for_a_label(tmp_path, farm):
  folder = base.prepare(catalog.find_builder(farm, tmp_path, Role.SOURCE))
  assert TargetExamples(folder).fields == ("image",)
  labelled = list(LabelledExamples(folder, "train"))
  plain = [{"image": example["image"]} for example in labelled]
  settings = data.BatchSettings(batch_size=2, crop_size=(4, 6), seed=0)
  batches = [data.training_batches(labelled, target, settings)[3] for target in (labelled, plain)]
  assert [list(batch["target"]) for batch in batches] == [["image"]] * 2
  np.testing.assert_array_equal(*(batch["target"]["image"] for batch in batches))


CAMVID = dict(name="camvid", path="gs://photos/camvid")
FOLDERS = dict(
  name="folders",
  path="gs://photos/camvid",
  train=("train", "trainannot"),
  val=("val", "valannot"),
)
COLORS = dict(
  classes=("a", "b"),
  label_colors=((1, 2, 3), ((4, 5, 6), (7, 8, 9))),
  ignore_colors=((0, 0, 0),),
  image_suffix="_2",
  size=(3, 4),
)
# Description -> the prepared folders for a source, a target and evaluation.
NAMES = (
  (
    CAMVID | dict(train=("train/0006R0", "train/0016E5"), val=("val",)),
    ("full-626812a117e9", "full-67ef9867ecd3", "full-92e27b977904"),
  ),
  (
    CAMVID | dict(train=("train",), val=("val",), size=(6, 8), classes="cityscapes19"),
    ("6x8-5736cb1d394f", "6x8-11fec9243ba1", "6x8-cb49935b8423"),
  ),
  (
    dict(name="gta5", path="gs://photos/gta5"),
    ("720x1280-9150dd696554", "720x1280-5a2bc64cac45", "720x1280-22a508282da4"),
  ),
  (
    dict(name="gta5", path="gs://photos/gta5", size=(), classes="synthia16", train="train"),
    ("full-ce2debf9881d", "full-7a41e792bc63", "full-65a9289f0681"),
  ),
  (
    dict(name="dark_zurich", path="gs://photos/dz", day_images=True, ignore_invalid=True),
    ("540x960-a78282e89e5c", "540x960-8c1c2bf4d74e", "540x960-54016c46bbcb"),
  ),
  (
    dict(name="acdc", path="gs://photos/acdc", train="night/train", val="fog/val"),
    ("540x960-e416af8e461f", "540x960-7caf31450f80", "540x960-d15fa00a8f2b"),
  ),
  (
    dict(name="nighttime_driving", path="gs://photos/nd"),
    ("540x960-22d1f32d6c84",) * 3,
  ),
  (
    FOLDERS | dict(classes="camvid11", ignore_ids=(11,)),
    ("full-b3b5c21c710b", "full-f38df2f7d2bc", "full-91662709b6e0"),
  ),
  (
    FOLDERS | COLORS,
    ("3x4-cc53313a4d77", "3x4-57d5c8a640ea", "3x4-5a18e67b17b0"),
  ),
  (
    dict(name="streets", domain="day", size=(8, 12), num_train=6, num_val=3),
    ("day-8x12-seed0-train6-val3-v1",) * 3,
  ),
)


def test_data_sets_that_users_have_prepared_are_still_found(small_camvid, tmp_path, monkeypatch):
  root = tmp_path / "buckets/photos"
  buckets.install(tmp_path / "buckets", monkeypatch)
  shutil.copytree(small_camvid, root / "camvid")
  miniatures.gta5(root / "gta5")
  miniatures.dark_zurich(root / "dz")
  miniatures.acdc(root / "acdc")
  miniatures.nighttime_driving(root / "nd")
  for spec, names in NAMES:
    folders = [catalog.find_builder(spec, tmp_path, role).data_path for role in Role]
    parts = [folder.relative_to(tmp_path).parts for folder in folders]
    assert parts == [(spec["name"], name, "1.0.0") for name in names]
