import concurrent.futures
import pathlib
import shutil

import cv2
import miniatures
import numpy as np
import pytest

from jax_uda.data.datasets import base, catalog, image_files, shards
from jax_uda.data.pipeline import rare_class
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role
from jax_uda.run import config as config_lib
from jax_uda.run import prepare_data

NUMBER = 7  # images of the miniature; the eighth pair is the first once more, for evaluation


@pytest.fixture
def root(tmp_path, monkeypatch):
  """GTA5 in files of two examples."""
  monkeypatch.setattr(shards, "SHARD_SIZE", 2)
  miniatures.gta5(tmp_path / "raw", NUMBER)
  return tmp_path / "raw"


@pytest.fixture
def reads(monkeypatch):
  """The stems of the images that were read; `stop_at` stands for Ctrl-C."""

  class Reads(list):
    stop_at = None

  reads = Reads()
  read_image = image_files.read_image

  def read_and_note(file, *more):
    if file.stem == reads.stop_at:
      raise KeyboardInterrupt
    reads.append(file.stem)
    return read_image(file, *more)

  monkeypatch.setattr(image_files, "read_image", read_and_note)
  return reads


def make(root):
  spec = dict(name="gta5", path=str(root), size=(5, 10))
  return catalog.find_builder(spec, root.parent / "prepared", Role.SOURCE)


def run(root, **kwargs):
  settings = dict(size="5,10", data_dir=root.parent / "prepared", skip=False) | kwargs
  return prepare_data.prepare("gta5", root, **settings)


def contents(folder):
  fields = ("image", "label")
  examples = [*Examples(folder, "train", fields=fields), *Examples(folder, "val", fields=fields)]
  return [(e["image"].tolist(), e["label"].tolist()) for e in examples]


def cut(file):
  file.write_bytes(file.read_bytes()[:-40])


def empty(file):
  file.write_bytes(b"")


def other_size(file):
  miniatures.write_palette(file, miniatures.columns(range(19), (10, 19)))


def unknown_ids(file):
  miniatures.write_palette(file, miniatures.columns([7] * 18 + [35, 99]))


DAMAGES = {
  "images/00005.png": {cut: "cannot be read as an image", empty: "cannot be read as an image"},
  "labels/00005.png": {
    cut: "cannot be read as an image",
    empty: "cannot be read as an image",
    other_size: r"has size \(10, 19\), its image \(10, 20\)",
    unknown_ids: r"holds the ids \[35, 99\]; known are 0\.\.34, 255",
    miniatures.write_image: r"holds colors \(RGB\)",
    pathlib.Path.unlink: "No label for image",
  },
}


@pytest.mark.parametrize(
  "name, damage, message",
  [(name, damage, DAMAGES[name][damage]) for name in DAMAGES for damage in DAMAGES[name]],
)
def test_a_bad_file_is_named_or_left_out(root, capsys, name, damage, message):
  damage(root / name)
  with pytest.raises(ValueError, match=f"00005.png {message}|{message}.*00005.png") as error:
    run(root)
  assert "4 of 8 pairs are prepared" in str(error.value) and "--on_error=skip" in str(error.value)
  assert not make(root).data_path.exists()

  folder = run(root, skip=True)
  text = capsys.readouterr().out
  assert "train: 6 images" in text and "left out: 1 of the pairs" in text and "00005.png" in text
  assert len(contents(folder)) == 7
  assert len(np.load(folder / "class_counts_train.npy")) == 6
  assert run(root) == folder  # it is there now


@pytest.mark.parametrize("stop_at", ("00001", "00004", "00007"))
def test_an_interrupted_preparation_continues(root, reads, stop_at, monkeypatch):
  monkeypatch.setattr(shards.os, "cpu_count", lambda: 1)
  reads.stop_at = stop_at
  with pytest.raises(KeyboardInterrupt):
    run(root)
  assert not make(root).data_path.exists()
  kept = (int(stop_at) - 1) // 2 * 2
  reads.clear()
  reads.stop_at = None
  folder = run(root)
  assert reads == [*(f"{i:05d}" for i in range(kept + 1, NUMBER + 1)), "00001"]
  at_once = run(root, data_dir=root.parent / "at once")
  assert contents(folder) == contents(at_once)
  names = lambda folder: sorted(file.name for file in folder.iterdir())
  assert names(folder) == names(at_once)
  assert not [*folder.parent.glob("*.partial")]


def test_after_an_interruption_only_changed_files_are_read_again(root, reads, monkeypatch):
  monkeypatch.setattr(shards.os, "cpu_count", lambda: 1)
  reads.stop_at = "00007"
  with pytest.raises(KeyboardInterrupt):
    run(root)
  reads.clear()
  reads.stop_at = None
  changed = miniatures.write_image(root / "images/00003.png", 99)
  folder = run(root)
  assert reads == ["00003", "00004", "00007", "00001"]
  image = Examples(folder, "train", fields=("image",))[2]["image"]
  np.testing.assert_array_equal(image, cv2.resize(changed, (10, 5)))


def test_a_repaired_file_lets_a_stopped_preparation_continue(root, reads, monkeypatch):
  monkeypatch.setattr(shards.os, "cpu_count", lambda: 1)
  unknown_ids(root / "labels/00005.png")
  with pytest.raises(ValueError, match=r"\[35, 99\]"):
    run(root)
  miniatures.write_palette(root / "labels/00005.png", miniatures.columns(miniatures.CITYSCAPES))
  reads.clear()
  assert len(contents(run(root))) == 8 and reads[0] == "00005"


def test_pairs_left_out_before_are_looked_at_again_when_asked_to_stop(root, reads):
  reads.stop_at = "00007"
  unknown_ids(root / "labels/00005.png")
  with pytest.raises(KeyboardInterrupt):
    run(root, skip=True)
  reads.stop_at = None
  with pytest.raises(ValueError, match=r"\[35, 99\]"):
    run(root)


def test_without_a_usable_pair_there_is_no_data_set(root):
  for file in sorted((root / "labels").iterdir()):
    cut(file)
  with pytest.raises(ValueError, match="No pair of train can be used; the first problem: .*00001"):
    run(root, skip=True)


def test_processes_that_prepare_at_the_same_time_do_the_work_once(root, reads):
  with concurrent.futures.ThreadPoolExecutor(2) as pool:
    folders = {*pool.map(lambda _: base.prepare(make(root)), range(2))}
  assert len(folders) == 1 and len(reads) == 8 and len(contents(folders.pop())) == 8


def test_a_class_that_never_occurs_is_named_and_never_drawn(root, capsys):
  for file in sorted((root / "labels").iterdir()):
    miniatures.write_palette(file, miniatures.columns((*miniatures.CITYSCAPES[:16], 28, 32, 33, 0)))
  folder = run(root)
  assert "train: 7 images\n    never occurs: train\n" in capsys.readouterr().out
  counts = catalog.class_counts(folder, "train", 19)
  table = rare_class.make_table(counts, temperature=0.01, min_pixels=5)
  assert sorted(table.classes.tolist()) == [i for i in range(19) if i != 16]


def test_changed_files_stop_a_run_and_are_prepared_again_alone(root, reads, monkeypatch):
  monkeypatch.setattr(shards.os, "cpu_count", lambda: 1)
  folder = run(root)
  before = contents(folder)
  assert base.prepare(make(root)) == folder
  changed = miniatures.write_image(root / "images/00003.png", 99)
  with pytest.raises(ValueError, match=r"1 have changed, e\.g\. .*00003\.png\. --mode=prepare"):
    base.prepare(make(root))
  assert contents(folder) == before
  reads.clear()
  assert run(root) == folder == base.prepare(make(root))
  assert reads == ["00003", "00004"]
  after = contents(folder)
  assert after[:2] + after[3:] == before[:2] + before[3:]
  assert after[2][0] == cv2.resize(changed, (10, 5)).tolist()
  assert [file.name for file in folder.parent.iterdir()] == [folder.name]


def test_files_that_come_or_go_are_noticed_but_not_folders_that_are_gone(root):
  run(root)
  miniatures.write_image(root / "images/00008.png")
  with pytest.raises(ValueError, match=r"1 have changed, e\.g\. .*00008\.png"):
    base.prepare(make(root))
  (root / "images/00008.png").unlink()
  (root / "images/00007.png").rename(root / "7.png")
  (root / "labels/00007.png").unlink()
  with pytest.raises(ValueError, match=r"2 have changed, e\.g\. .*00007\.png"):
    base.prepare(make(root))
  folder = run(root)
  assert len(contents(folder)) == 7
  shutil.rmtree(root / "labels")
  assert base.prepare(make(root)) == folder
  shutil.rmtree(root / "images")
  assert base.prepare(make(root)) == folder


def test_a_file_left_out_and_repaired_is_taken_in(root, reads):
  unknown_ids(root / "labels/00005.png")
  folder = run(root, skip=True)
  assert len(contents(folder)) == 7 and base.prepare(make(root)) == folder
  miniatures.write_palette(root / "labels/00005.png", miniatures.columns(miniatures.CITYSCAPES))
  with pytest.raises(ValueError, match=r"1 have changed, e\.g\. .*labels/00005\.png"):
    base.prepare(make(root))
  reads.clear()
  assert len(contents(run(root))) == 8 and sorted(reads) == ["00005", "00006"]
  assert not (folder / shards.PROBLEMS).exists()


@pytest.mark.parametrize(
  "dataset, size, message",
  (
    ("gta", "", "--dataset = 'gta' is unknown. Did you mean 'gta5'"),
    ("gta5:trian=x", "", "Did you mean 'train'"),
    ("gta5:train=x", "", "--dataset.train = 'x' is unknown"),
    ("gta5", "720", "--size=720 must be HEIGHT,WIDTH in pixels or full"),
    ("gta5", "720,0", "--size=720,0 must be"),
    ("gta5:role=taget", "", "--dataset.role = 'taget' is unknown. Did you mean 'target'"),
    ("synthia", "", "--manual_dir: .*has no folder RGB"),
  ),
)
def test_mistakes_in_the_flags_are_explained(root, tmp_path, dataset, size, message):
  with pytest.raises(ValueError, match=message):
    prepare_data.prepare(dataset, root, size=size, data_dir=tmp_path, skip=False)


def test_all_data_sets_of_a_recipe_are_prepared(root, tmp_path, capsys):
  miniatures.nighttime_driving(tmp_path / "night")
  cut(root / "labels/00002.png")
  config = config_lib.default()
  config.data.dir = str(tmp_path / "prepared")
  gta = dict(name="gta5", path=str(root), size=(5, 10))
  config.data.update(source=gta, target=gta)
  config.eval.targets = dict(night=dict(name="nighttime_driving", path=str(tmp_path / "night")))
  with pytest.raises(ValueError, match="00002"):
    prepare_data.prepare_recipe(config.data, config.eval.targets, skip=False)
  prepare_data.prepare_recipe(config.data, config.eval.targets, skip=True)
  text = capsys.readouterr().out
  for part in ("data.source: gta5 is in", "data.target: gta5", "eval.targets.night: nighttime"):
    assert part in text
  # of the target's training images no label is opened
  assert "train: 6 images\n" in text and "train: 7 images\n    no labelled pixels\n" in text
  assert text.count("val: 1 images") == 3


def test_flags_become_the_dict_of_a_recipe():
  make = lambda dataset, size: prepare_data.make_spec(dataset, "/d", prepare_data.parse_size(size))[
    1
  ]
  assert make("gta5", "720,1280") == dict(name="gta5", path="/d", size=(720, 1280))
  night = dict(name="dark_zurich", path="/d", day_images=True, size=())
  assert make("dark_zurich:day_images", "full") == night
  camvid = dict(name="camvid", path="/d", train=("train/0006R0", "val"), val=("val",))
  assert make("camvid:train=train/0006R0+val", "") == camvid
  role, spec = prepare_data.make_spec("acdc:role=eval", "/d", None)
  assert role is Role.EVALUATION and spec == dict(name="acdc", path="/d")


def test_what_is_prepared_for_a_role_is_found_by_a_run(root, tmp_path):
  for role in Role:
    folder = prepare_data.prepare(
      f"gta5:role={role.value}", root, size="5,10", data_dir=tmp_path / "prepared", skip=False
    )
    spec = dict(name="gta5", path=str(root), size=(5, 10))
    assert catalog.find_builder(spec, tmp_path / "prepared", role).data_path == folder
