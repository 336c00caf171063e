import os

import cv2
import numpy as np
import PIL.Image
import pytest

from jax_uda.data import label_spaces
from jax_uda.data.datasets import base, camvid, image_files, pairs, shards
from jax_uda.data.pipeline.examples import Examples, LabelledExamples, TargetExamples
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

BOTH = ("image", "label")
DEFAULTS = dict(train=("train/0006R0", "train/0016E5"), val=("val",))


def make(tmp_path, root, **kwargs):
  return camvid.builder(tmp_path / "prepared", Role.SOURCE, path=root, **DEFAULTS | kwargs)


def test_prepared_examples_are_the_selected_files_in_order(tmp_path, small_camvid):
  folder = base.prepare(make(tmp_path, small_camvid))
  train, val = (Examples(folder, split, fields=BOTH) for split in ("train", "val"))
  assert (len(train), len(val)) == (2, 2)
  for example, stem in zip(train, ("0006R0_1", "0016E5_1"), strict=True):
    file = cv2.imread(str(small_camvid / "train" / f"{stem}.png"))[..., ::-1]
    np.testing.assert_array_equal(example["image"], file)
    expected = [*range(11), 255, 0, 1, 2, 3]
    assert example["label"].shape == (12, 16) and example["label"][5].tolist() == expected


def test_labels_of_the_targets_training_images_are_not_even_looked_for(tmp_path, small_camvid):
  for file in (small_camvid / "trainannot").iterdir():
    file.unlink()
  parts = dict(path=small_camvid, **DEFAULTS)
  folder = base.prepare(camvid.builder(tmp_path / "prepared", Role.TARGET, **parts))
  assert [list(example) for example in TargetExamples(folder)] == [["image"]] * 2
  train, val = (LabelledExamples(folder, split) for split in ("train", "val"))
  assert {int(label) for example in train for label in example["label"].ravel()} == {255}
  assert int(val[0]["label"].min()) == 0


def test_images_are_fitted_into_the_working_size(tmp_path, small_camvid):
  folder = base.prepare(make(tmp_path, small_camvid, size=(6, 100)))
  example = Examples(folder, "train", fields=BOTH)[0]
  assert example["image"].shape == (6, 8, 3) and example["label"].shape == (6, 8)


def test_jpeg_images_are_found(tmp_path, small_camvid):
  png = small_camvid / "train" / "0006R0_1.png"
  PIL.Image.open(png).save(png.with_suffix(".jpg"))
  png.unlink()
  assert len(Examples(base.prepare(make(tmp_path, small_camvid)), "train", fields=BOTH)) == 2


def test_a_label_with_a_palette_is_read_as_ids(small_camvid):
  pair = pairs.find(small_camvid, "train", camvid.LAYOUT, prefix="0006R0")[0]
  expected = pairs.read(pair)[1]
  with PIL.Image.open(pair.label) as file:
    ids = np.array(file)
  paletted = PIL.Image.frombytes("P", ids.shape[::-1], ids.tobytes())
  paletted.putpalette([255 - i % 256 for i in range(768)])
  paletted.save(pair.label)
  np.testing.assert_array_equal(pairs.read(pair)[1], expected)


def break_image(root):
  (root / "train" / "0006R0_1.png").write_bytes(b"no image")


def cut_image(root):
  file = root / "train" / "0006R0_1.png"
  file.write_bytes(file.read_bytes()[:200])


def shrink_label(root):
  cv2.imwrite(str(root / "trainannot" / "0006R0_1.png"), np.zeros((12, 15), np.uint8))


def unknown_ids(root):
  cv2.imwrite(str(root / "trainannot" / "0006R0_1.png"), np.full((12, 16), 33, np.uint8))


@pytest.mark.parametrize(
  "damage, message",
  (
    (break_image, r"train/0006R0_1\.png cannot be read"),
    (cut_image, r"train/0006R0_1\.png cannot be read"),
    (shrink_label, r"trainannot/0006R0_1\.png has size \(12, 15\), its image \(12, 16\)"),
    (unknown_ids, r"trainannot/0006R0_1\.png holds the ids \[33\]"),
  ),
)
def test_a_bad_file_is_named_and_there_is_no_data_set(tmp_path, small_camvid, damage, message):
  damage(small_camvid)
  builder = make(tmp_path, small_camvid)
  with pytest.raises(ValueError, match=message):
    base.prepare(builder)
  assert not builder.data_path.exists()


def test_data_left_half_written_is_not_used(tmp_path, small_camvid):
  builder = make(tmp_path, small_camvid)
  half = builder.data_path.parent / f"incomplete.X_{builder.data_path.name}"
  half.mkdir(parents=True)
  (half / "camvid-train.array_record-00000-of-00001").write_bytes(b"half")
  assert len(Examples(base.prepare(builder), "train", fields=BOTH)) == 2


def test_missing_files_are_explained(tmp_path, small_camvid):
  with pytest.raises(ValueError, match=r"^path = .*is no folder.*SegNet"):
    make(tmp_path, tmp_path / "nowhere")
  with pytest.raises(ValueError, match=r"^path: .*no folder test; .*SegNet"):
    make(tmp_path, small_camvid, val=("test/0001TP",)).find_pairs()
  with pytest.raises(ValueError, match=r"no image Seq05VD\*\.png in"):
    make(tmp_path, small_camvid, val=("val/Seq05VD",)).find_pairs()
  with pytest.raises(ValueError, match=r"^train = 'trian/0001TP' is unknown. Known: test, t"):
    make(tmp_path, small_camvid, train=("trian/0001TP",))
  (small_camvid / "trainannot" / "0006R0_1.png").unlink()
  with pytest.raises(
    ValueError, match=r"No label for image .*0006R0_1\.png: expected .*trainannot"
  ):
    base.prepare(make(tmp_path, small_camvid))


def test_the_folder_depends_on_the_settings(tmp_path, small_camvid):
  path = lambda **kwargs: str(make(tmp_path, small_camvid, **kwargs).data_path)
  names = [path()]
  names += [path(size=(6, 8)), path(train=("train",)), path(val=("val/0016E5_2",))]
  parts = dict(path=small_camvid, **DEFAULTS)
  for role in (Role.TARGET, Role.EVALUATION):
    names.append(str(camvid.builder(tmp_path / "prepared", role, **parts).data_path))
  (small_camvid / "train" / "0006R0_1.png").touch()
  assert path() == names[0]
  small_camvid.rename(tmp_path / "elsewhere")
  names.append(str(make(tmp_path, tmp_path / "elsewhere").data_path))
  assert len(set(names)) == len(names)


def test_a_changed_file_is_noticed_and_only_its_part_is_written_again(
  tmp_path, small_camvid, monkeypatch
):
  monkeypatch.setattr(shards, "SHARD_SIZE", 1)
  folder = base.prepare(make(tmp_path, small_camvid))
  reads = []
  read = image_files.read_image
  monkeypatch.setattr(
    image_files, "read_image", lambda f, *more: reads.append(f.stem) or read(f, *more)
  )
  os.utime(small_camvid / "train" / "0006R0_1.png", (1, 1))
  assert base.prepare(make(tmp_path, small_camvid)) == folder and not reads  # another time alone
  changes = (
    lambda: PIL.Image.new("RGB", (16, 12)).save(small_camvid / "train" / "0006R0_1.png"),
    lambda: PIL.Image.new("L", (16, 12)).save(small_camvid / "trainannot" / "0006R0_1.png"),
  )
  for change in changes:
    change()
    with pytest.raises(
      ValueError, match=r"1 have changed, e\.g\. .*0006R0_1\.png\. --mode=prepare"
    ):
      base.prepare(make(tmp_path, small_camvid))
    assert base.prepare(make(tmp_path, small_camvid), renew=True) == folder
    assert reads == ["0006R0_1"]
    reads.clear()
  assert not Examples(folder, "train", fields=BOTH)[0]["label"].any()
  small_camvid.rename(tmp_path / "gone")
  assert base.prepare(make(tmp_path, small_camvid)) == folder


def test_for_evaluation_no_training_image_is_needed(tmp_path, small_camvid):
  builder = camvid.builder(tmp_path, Role.EVALUATION, path=small_camvid, val=("val",))
  folder = base.prepare(builder)
  assert len(Examples(folder, "val", fields=BOTH)) == 2
  assert not (folder / "names_train.json").exists()


def test_the_photographs_have_the_known_numbers(tmp_path, camvid_dir):
  counts = {
    (split, prefix): len(pairs.find(camvid_dir, split, camvid.LAYOUT, prefix=prefix))
    for split, prefix in (
      ("train", "0001TP"),
      ("train", "0006R0"),
      ("train", "0016E5"),
      ("val", "0016E5"),
      ("val", ""),
    )
  }
  assert list(counts.values()) == [62, 101, 204, 101, 101]
  dusk = dict(train=("train/0001TP",), val=("train/0001TP",), size=(60, 80))
  examples = Examples(base.prepare(make(tmp_path, camvid_dir, **dusk)), "val", fields=BOTH)
  assert len(examples) == 62 and examples[0]["image"].shape == (60, 80, 3)
  labels = np.stack([example["label"] for example in examples])
  assert np.unique(labels).tolist() == [*range(11), 255]
  mean = np.mean([example["image"].mean() for example in examples])
  assert 55 < mean < 67  # dusk: 61


def test_labels_are_given_in_the_classes_asked_for(tmp_path, small_camvid):
  plain, other = (make(tmp_path, small_camvid, **c) for c in ({}, dict(classes="cityscapes19")))
  assert plain.data_path != other.data_path
  assert other.label_space is label_spaces.CITYSCAPES19
  label = Examples(base.prepare(other), "val", fields=("label",))[0]["label"]
  as_19 = [10, 2, 5, 0, 1, 8, 7, 4, 13, 11, 18, 255]  # sky, building, …, sign is traffic sign, void
  np.testing.assert_array_equal(label, np.tile([*as_19, *as_19[:4]], (12, 1)))
  with pytest.raises(ValueError, match="^classes = 'camvid' is unknown"):
    make(tmp_path, small_camvid, classes="camvid")
