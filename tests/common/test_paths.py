import os
import pathlib
import shutil

import buckets
import cv2
import fsspec
import numpy as np
import pytest

from jax_uda.common import paths
from jax_uda.data.datasets import base, catalog, image_files, sources
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role
from jax_uda.run import check_data, prepare_data
from jax_uda.run import config as config_lib

CAMVID = dict(name="camvid", train=("train/0001TP", "train/0006R0"), val=("val",), size=(6, 8))
FOLDERS = dict(
  name="folders",
  train=("train", "trainannot"),
  val=("val", "valannot"),
  classes="camvid11",
  ignore_ids=(11,),
)


@pytest.fixture
def bucket(small_camvid, tmp_path, monkeypatch):
  """The small CamVid as `gs://photos/camvid`; returns the folder behind it."""
  buckets.install(tmp_path / "buckets", monkeypatch)
  shutil.copytree(small_camvid, tmp_path / "buckets/photos/camvid")
  return tmp_path / "buckets/photos/camvid"


def write_gta5(root):
  """GTA5 of two pairs, one of them a folder deeper; all labels are road."""
  for name in ("images/00001.png", "images/more/00002.png"):
    for file, array in (
      (root / name, np.random.default_rng(0).integers(0, 256, (10, 20, 3), np.uint8)),
      (root / name.replace("images", "labels"), np.full((10, 20), 7, np.uint8)),
    ):
      file.parent.mkdir(parents=True, exist_ok=True)
      cv2.imwrite(str(file), array)


def contents(builder):
  folder = base.prepare(builder)
  return [
    (example["image"].tolist(), example["label"].tolist())
    for split in ("train", "val")
    for example in Examples(folder, split, fields=("image", "label"))
  ]


def test_a_local_path_is_one_of_pathlib():
  assert paths.as_path("~/a/../b", "x") == pathlib.Path("~/a/../b").expanduser()
  assert paths.absolute("a/../b", "x") == pathlib.Path("b").resolve()
  assert type(paths.as_path("gs:/a", "x")) is type(pathlib.Path("a"))


@pytest.mark.parametrize("scheme", paths.PACKAGES)
def test_a_path_in_a_bucket_keeps_its_scheme(bucket, scheme):
  folder = paths.absolute(f"{scheme}://photos/camvid/", "x")
  assert str(folder) == f"{scheme}://photos/camvid"
  files = paths.files_below(folder)
  assert [str(file.relative_to(folder)) for file in files] == [
    str(file.relative_to(bucket)) for file in paths.files_below(bucket)
  ]
  assert len(files) == 12 and all(str(file).startswith(f"{scheme}://photos/") for file in files)
  assert paths.files_below(folder / "nowhere") == []


@pytest.mark.parametrize("scheme", paths.PACKAGES)
def test_a_missing_package_is_named_with_the_setting(monkeypatch, tmp_path, scheme):
  def refuse(name):
    raise ImportError("not here")

  monkeypatch.setattr(fsspec, "get_filesystem_class", refuse)
  package, extra = paths.PACKAGES[scheme]
  spec = dict(name="gta5", path=f"{scheme}://bucket/gta5")
  with pytest.raises(ValueError, match=rf"^path = .*pip install {package},"):
    catalog.find_builder(spec, tmp_path, Role.SOURCE)
  with pytest.raises(ValueError, match=rf"--manual_dir = .*\[{extra}\]"):
    prepare_data.prepare("gta5", spec["path"], size="", data_dir=tmp_path, skip=False)
  data = dict(dir=f"{scheme}://bucket", source=spec, target=spec)
  with pytest.raises(ValueError, match=r"config\.data\.dir = "):
    check_data.check(data, tmp_path)


def test_an_unknown_scheme_is_refused():
  with pytest.raises(
    ValueError, match=r"config.data.dir = 'ftp://x' must be a local path or begin"
  ):
    paths.as_path("ftp://x", "config.data.dir")


@pytest.mark.parametrize("spec", (CAMVID, FOLDERS), ids=lambda spec: spec["name"])
def test_data_in_a_bucket_are_prepared_like_local_ones(bucket, tmp_path, spec):
  make = lambda path: catalog.find_builder(dict(spec, path=path), tmp_path / "data", Role.SOURCE)
  there, here = make("gs://photos/camvid"), make(str(bucket))
  assert contents(there) == contents(here)
  assert there.builder_config.name != here.builder_config.name


def test_a_public_data_set_in_a_bucket_is_prepared_like_a_local_one(bucket, tmp_path, capsys):
  write_gta5(bucket.parent / "gta5")
  run = lambda path: prepare_data.prepare(
    "gta5", path, size="5,10", data_dir=tmp_path / "data", skip=False
  )
  there, here = run("s3://photos/gta5"), run(str(bucket.parent / "gta5"))
  counts = [np.load(folder / "class_counts_train.npy") for folder in (there, here)]
  np.testing.assert_array_equal(*counts)
  assert counts[0].shape == (2, 19) and counts[0][:, 0].tolist() == [200, 200]
  assert "path='s3://photos/gta5'" in capsys.readouterr().out


def test_jpegs_in_a_bucket_are_stored_as_they_are(bucket):
  file = bucket / "image.jpg"
  cv2.imwrite(str(file), np.zeros((4, 5, 3), np.uint8))
  there = paths.as_path("gs://photos/camvid", "x")
  assert image_files.jpeg_bytes(there / "image.jpg") == file.read_bytes()
  assert image_files.jpeg_bytes(there / "val/0016E5_2.png") is None
  with pytest.raises(ValueError, match="gs://photos/camvid/none.png cannot be read: "):
    image_files.read_image(there / "none.png")


def make_camvid(tmp_path):
  spec = dict(CAMVID, path="s3://photos/camvid")
  return catalog.find_builder(spec, tmp_path / "data", Role.SOURCE)


def change_time(folder):
  os.utime(folder / "train/0001TP_1.png", (1e9, 1e9))


def change_length(folder):
  with (folder / "train/0001TP_1.png").open("ab") as file:
    file.write(b"more")


def remove(folder):
  (folder / "train/0001TP_1.png").unlink()


@pytest.mark.parametrize("change", (change_time, change_length, remove))
def test_changes_in_a_bucket_are_noticed(bucket, tmp_path, change):
  base.prepare(make_camvid(tmp_path))
  assert make_camvid(tmp_path).find_changes() is None
  change(bucket)
  number = 2 if change is remove else 1  # its label goes with it
  example = "s3://photos/camvid/train/0001TP_1.png"
  assert make_camvid(tmp_path).find_changes() == sources.Changes(number, example)
  with pytest.raises(ValueError, match=f"{number} have changed, e.g. {example}"):
    base.prepare(make_camvid(tmp_path))


def test_prepared_data_need_the_bucket_no_more(bucket, tmp_path):
  before = contents(make_camvid(tmp_path))
  shutil.rmtree(bucket)
  assert contents(make_camvid(tmp_path)) == before


def test_a_folder_missing_in_a_bucket_is_named(bucket, tmp_path):
  for spec in (dict(name="gta5"), CAMVID):
    with pytest.raises(ValueError, match=r"^path = 'gs://photos/nothing' is no"):
      catalog.find_builder(dict(spec, path="gs://photos/nothing"), tmp_path, Role.SOURCE)
  spec = dict(CAMVID, path="gs://photos/camvid", val=("test",))
  with pytest.raises(ValueError, match="^path: gs://photos/camvid has no folder test; expected"):
    catalog.find_builder(spec, tmp_path, Role.SOURCE).find_pairs()


def test_check_data_reads_a_bucket(bucket, tmp_path, capsys):
  config = config_lib.default()
  config.data.dir = str(tmp_path / "data")
  config.data.source = dict(CAMVID, path="gs://photos/camvid")
  config.data.target = dict(CAMVID, path="gs://photos/camvid")
  findings = check_data.check(config.data, tmp_path / "look")
  assert findings["source train"].number == 3 and findings["source val"].number == 2
  assert not (tmp_path / "data").exists()


def test_class_statistics_are_read_from_a_bucket(bucket, tmp_path):
  write_gta5(bucket.parent / "gta5")
  stats = '[{"0": 5, "file": "a/00001.png"}, {"3": 9, "file": "a/00002.png"}]'
  (bucket.parent / "sample_class_stats.json").write_text(stats)
  spec = dict(name="gta5", path="gs://photos/gta5", size=(5, 10))
  data = dict(
    source=dict(spec, class_stats="gs://photos/sample_class_stats.json"),
    target=spec,
    cache_mbytes=1,
  )
  domains = catalog.load_domains(**data, data_dir=tmp_path / "data")
  assert domains.source_train.class_counts[:, [0, 3]].tolist() == [[5, 0], [0, 9]]
