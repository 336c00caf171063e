import cv2
import numpy as np
import PIL.Image
import pytest

from jax_uda.data import label_spaces
from jax_uda.data.datasets import base, catalog
from jax_uda.data.roles import Role
from jax_uda.run import check_data

SIZE = (6, 8)


@pytest.fixture
def mine(tmp_path):
  """Four pairs of two classes in a `train` and two in a `val` folder; the last pixel is ignored."""
  root = tmp_path / "mine"
  for split, number in (("train", 4), ("val", 2)):
    for kind in ("images", "labels"):
      (root / split / kind).mkdir(parents=True)
    for i in range(number):
      label = np.full(SIZE, 0, np.uint8)
      label[:, :2] = 1
      label[-1, -1] = 255
      cv2.imwrite(str(root / split / "images" / f"{i}.png"), np.full((*SIZE, 3), 40 * i, np.uint8))
      cv2.imwrite(str(root / split / "labels" / f"{i}.png"), label)
  return root


def spec(root, **change):
  folders = {split: (f"{split}/images", f"{split}/labels") for split in ("train", "val")}
  return dict(name="folders", path=str(root), classes=("crop", "weed"), **folders) | change


def run(tmp_path, source, target=None, **targets):
  data = {"dir": str(tmp_path / "data"), "source": source, "target": target or source}
  return check_data.check(data, tmp_path / "out", targets)


def test_pairs_sizes_and_shares_are_counted_and_drawn(tmp_path, mine, capsys):
  pytest.importorskip("matplotlib")
  findings = run(tmp_path, spec(mine), spec(mine, train=("train/images",)))
  text = capsys.readouterr().out
  train = findings["source train"]
  assert train.sizes == {SIZE: 4} and train.ignored == 4
  assert train.pixels.tolist() == [4 * 35, 4 * 12]
  assert "source train: 4 pairs; 4 of 6x8" in text and "2.1 % of the pixels are ignored" in text
  assert "target train: 4 pairs; 4 of 6x8\n  no labelled pixels" in text
  rows = [line.split() for line in text.splitlines()]
  assert ["crop", "74.47", "74.47", "–", "74.47"] in rows
  for name in ("source_train", "source_val", "target_train", "target_val"):
    assert PIL.Image.open(tmp_path / "out" / f"check_{name}.png").width > 300
  assert not (tmp_path / "out" / "check_problems.txt").exists()


def test_every_bad_file_is_named_and_the_others_are_counted(tmp_path, mine, capsys):
  labels = mine / "train" / "labels"
  (labels / "0.png").unlink()
  cv2.imwrite(str(labels / "1.png"), np.full(SIZE, 9, np.uint8))
  image = mine / "train" / "images" / "2.png"
  image.write_bytes(image.read_bytes()[:50])
  good = spec(mine, train=("val/images", "val/labels"))
  with pytest.raises(ValueError, match=r"3 of 10 pairs cannot be used; all are named in .*txt"):
    run(tmp_path, spec(mine), good)
  text = capsys.readouterr().out
  assert "source train: 4 pairs; 1 of 6x8" in text and "3 pairs cannot be used" in text
  written = (tmp_path / "out" / "check_problems.txt").read_text()
  for part in (
    "images/0.png has no label: expected",
    "labels/1.png holds the ids 9",
    "2.png cannot be read",
  ):
    assert part in text and part in written


def test_a_class_that_never_occurs_is_named(tmp_path, mine, capsys):
  classes = ("crop", "weed", "stone", "wall")
  with pytest.raises(
    ValueError, match="^config.data.source: stone, wall never occur in the labels"
  ):
    run(tmp_path, spec(mine, classes=classes))
  assert "never occurs: stone, wall" in capsys.readouterr().out
  run(tmp_path, spec(mine, classes=classes, allow_missing=True))
  assert "never occurs: stone, wall" in capsys.readouterr().out


def test_domains_of_different_classes_are_an_error(tmp_path, mine):
  with pytest.raises(ValueError, match="^config.data.target has the classes of crop, tree"):
    run(tmp_path, spec(mine), spec(mine, classes=("crop", "tree")))


def test_a_drawn_data_set_is_read_back(tmp_path, quick_streets, capsys):
  streets = dict(name="streets", domain="day", seed=0, size=(8, 12), num_train=3, num_val=1)
  findings = run(tmp_path, streets)
  assert findings["source train"].sizes == {(8, 12): 3}
  assert "source val: 1 pairs; 1 of 8x12" in capsys.readouterr().out


def test_what_is_prepared_is_looked_at_when_its_files_are_gone(tmp_path, mine):
  before = run(tmp_path, spec(mine), more=spec(mine))
  for role in Role:
    base.prepare(catalog.find_builder(spec(mine), tmp_path / "data", role))
  mine.rename(tmp_path / "gone")
  findings = run(tmp_path, spec(mine), more=spec(mine))
  assert list(findings) == list(before) and len(findings) == 5
  for title in findings:
    assert findings[title].pixels.tolist() == before[title].pixels.tolist()
    assert findings[title].sizes == before[title].sizes and not findings[title].problems


def test_further_targets_are_looked_at_too(tmp_path, mine, capsys):
  findings = run(tmp_path, spec(mine), again=spec(mine))
  assert list(findings)[-1] == "again val" and findings["again val"].sizes == {SIZE: 2}
  assert "again val: 2 pairs; 2 of 6x8" in capsys.readouterr().out


def test_an_overlay_mixes_colors_and_leaves_ignored_pixels():
  image = np.full((1, 2, 3), 100, np.uint8)
  mixed = check_data.overlay(image, np.array([[3, 255]], np.uint8), label_spaces.CAMVID11)
  road = label_spaces.CAMVID11.palette[3].astype(int)
  np.testing.assert_array_equal(mixed[0, 0], (100 + road) // 2)
  np.testing.assert_array_equal(mixed[0, 1], image[0, 1])
