import cv2
import numpy as np
import PIL.Image
import pytest

from jax_uda.data import label_spaces
from jax_uda.data.datasets import base, catalog, folders, shards
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

BOTH = ("image", "label")
SIZE = (6, 8)
SETTINGS = dict(
  train=("train/images", "train/labels"),
  val=("val/images", "val/labels"),
  classes=("soil", "crop", "weed"),
  label_ids=(7, 300, (2, 3)),
  ignore_ids=(0, 255),
)
RAW = np.array([7, 300, 2, 3, 0, 255, 7, 7], np.uint16)
IDS = [0, 1, 2, 2, 255, 255, 0, 0]


@pytest.fixture
def fields(tmp_path):
  """Images in two folders below `train/images`, one in `val/images`; labels of 16 bits."""
  root = tmp_path / "fields"
  rng = np.random.default_rng(0)
  for split, stem in (("train", "b/2"), ("train", "a/1"), ("train", "a/10"), ("val", "7")):
    image, label = (root / split / kind / f"{stem}.png" for kind in ("images", "labels"))
    for file in (image, label):
      file.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), rng.integers(0, 256, (*SIZE, 3), np.uint8))
    cv2.imwrite(str(label), np.tile(RAW, (SIZE[0], 1)))
  return root


def make(tmp_path, root, **kwargs):
  return folders.builder(tmp_path / "prepared", Role.SOURCE, path=root, **SETTINGS | kwargs)


def read_train(builder):
  return list(Examples(base.prepare(builder), "train", fields=BOTH))


def test_pairs_are_found_below_the_folders_and_ids_are_mapped(tmp_path, fields):
  actual = read_train(make(tmp_path, fields))
  assert len(actual) == 3
  for example, stem in zip(actual, ("a/1", "a/10", "b/2"), strict=True):
    file = cv2.imread(str(fields / "train" / "images" / f"{stem}.png"))[..., ::-1]
    np.testing.assert_array_equal(example["image"], file)
    np.testing.assert_array_equal(example["label"], np.tile(IDS, (SIZE[0], 1)))


COLORS = dict(
  label_ids=(),
  ignore_ids=(255,),
  label_colors=((90, 60, 30), (0, 160, 0), ((220, 0, 0), (0, 0, 1))),
  ignore_colors=((255, 255, 255),),
)


def paint(root, *, as_palette=False):
  """Label files where colors stand for classes."""
  colors = np.array([(90, 60, 30), (0, 160, 0), (220, 0, 0), (0, 0, 1), (255, 255, 255)], np.uint8)
  index = np.tile([0, 1, 2, 3, 4, 4, 0, 0], (SIZE[0], 1))
  for file in root.glob("*/labels/**/*.png"):
    image = PIL.Image.fromarray(colors[index])
    (image.quantize(16, dither=0) if as_palette else image).save(file)


@pytest.mark.parametrize("as_palette", (False, True))
def test_colors_may_stand_for_classes(tmp_path, fields, as_palette):
  paint(fields, as_palette=as_palette)
  for example in read_train(make(tmp_path, fields, **COLORS)):
    np.testing.assert_array_equal(example["label"], np.tile(IDS, (SIZE[0], 1)))


def test_a_class_may_have_no_color(tmp_path, fields):
  paint(fields)
  ignored = (*COLORS["ignore_colors"], (220, 0, 0), (0, 0, 1))
  some = COLORS | dict(label_colors=((90, 60, 30), (0, 160, 0), ()), ignore_colors=ignored)
  for example in read_train(make(tmp_path, fields, **some)):
    np.testing.assert_array_equal(np.unique(example["label"]), (0, 1, 255))


def test_an_unknown_color_is_named(tmp_path, fields):
  paint(fields)
  some = COLORS | dict(label_colors=((90, 60, 30), (0, 160, 0), (220, 0, 0)))
  with pytest.raises(
    ValueError, match=r"1\.png holds the colors \(0, 0, 1\), which are neither in lab"
  ):
    base.prepare(make(tmp_path, fields, **some))


def test_suffixes_of_the_stems_are_told_apart(tmp_path, fields):
  for split in ("train", "val"):
    for kind, suffix in (("images", "_rgb"), ("labels", "_ids")):
      for file in list((fields / split / kind).rglob("*.png")):
        file.rename(file.with_stem(f"{file.stem}{suffix}"))
  (fields / "train" / "images" / "a" / "1_depth.png").write_bytes(b"not ours")
  builder = make(tmp_path, fields, image_suffix="_rgb", label_suffix="_ids")
  assert len(read_train(builder)) == 3


@pytest.mark.parametrize("kind, ending", (("images", ".jpg"), ("labels", ".tif")))
def test_files_that_differ_in_their_endings_alone_are_both_named(tmp_path, fields, kind, ending):
  file = fields / "train" / kind / "a" / "1.png"
  file.with_suffix(ending).write_bytes(file.read_bytes())
  with pytest.raises(ValueError, match=rf"a/1\.\w+ and .*{kind}/a/1\.\w+ have one name") as error:
    make(tmp_path, fields)
  assert str(file) in str(error.value) and ending in str(error.value)


def test_images_without_labels_are_a_target(tmp_path, fields):
  actual = read_train(make(tmp_path, fields, train=("train/images",)))
  assert len(actual) == 3 and all((example["label"] == 255).all() for example in actual)


def test_labels_of_a_targets_training_images_are_not_opened(tmp_path, fields):
  (fields / "train" / "labels" / "a" / "1.png").write_bytes(b"?")
  builder = folders.builder(tmp_path / "prepared", Role.TARGET, path=fields, **SETTINGS)
  assert all((example["label"] == 255).all() for example in read_train(builder))


def test_linked_folders_are_read(tmp_path, fields):
  (fields / "linked").mkdir()
  (fields / "linked" / "more").symlink_to(fields / "train" / "images" / "a")
  assert list(folders.files(fields / "linked")) == ["more/1", "more/10"]


def test_labels_with_a_palette_and_of_one_bit_are_ids(tmp_path, fields):
  label = fields / "train" / "labels" / "a" / "1.png"
  for mode, ids in (("P", (4, 200)), ("1", (0, 1))):
    values = np.tile(np.array(ids, np.uint8), (SIZE[0], 4))
    if mode == "P":
      image = PIL.Image.frombytes("P", SIZE[::-1], values.tobytes())
      image.putpalette([255 - i % 256 for i in range(768)])
    else:
      image = PIL.Image.fromarray(values.astype(bool))
    image.save(label)
    builder = make(tmp_path, fields, classes=("a", "b"), label_ids=ids, ignore_ids=())
    actual = builder.read(builder.builder_config.pairs["train"][0])[1]
    np.testing.assert_array_equal(actual, values == ids[1])


def test_images_are_fitted_into_the_working_size(tmp_path, fields):
  folder = base.prepare(make(tmp_path, fields, size=(3, 100)))
  train, val = (Examples(folder, split, fields=BOTH)[0] for split in ("train", "val"))
  assert train["image"].shape == val["image"].shape == (3, 4, 3)
  assert train["label"].shape == (3, 4)
  assert val["label"].shape == SIZE, "scores are taken at the size of the label files"


def test_classes_have_the_given_colors_or_different_ones():
  palette = ((1, 2, 3), (4, 5, 6))
  space = folders.make_label_space(("a", "b"), palette)
  np.testing.assert_array_equal(space.palette, palette)
  chosen = folders.make_label_space([str(i) for i in range(40)]).palette
  assert len({tuple(color) for color in chosen.tolist()}) == 40
  known = folders.make_label_space("cityscapes19")
  assert known is label_spaces.CITYSCAPES19


def truncate(root):
  file = root / "train" / "images" / "a" / "1.png"
  file.write_bytes(file.read_bytes()[:60])


def shrink(root):
  cv2.imwrite(str(root / "train" / "labels" / "a" / "1.png"), np.zeros((6, 7), np.uint8))


def add_id(root):
  cv2.imwrite(str(root / "train" / "labels" / "a" / "1.png"), np.full(SIZE, 9, np.uint8))


def color(root):
  cv2.imwrite(str(root / "train" / "labels" / "a" / "1.png"), np.zeros((*SIZE, 3), np.uint8))


def remove(root):
  (root / "train" / "labels" / "a" / "1.png").unlink()


@pytest.mark.parametrize(
  "damage, message",
  (
    (truncate, r"images/a/1\.png cannot be read"),
    (shrink, r"labels/a/1\.png has size \(6, 7\), its image \(6, 8\)"),
    (add_id, r"labels/a/1\.png holds the ids 9, which are neither in label_ids nor in ignore_ids"),
    (color, r"labels/a/1\.png holds colors \(RGB\)"),
    (remove, r"1 of 4 images have no label, .*a/1\.png: expected .*labels/a/1\.png"),
  ),
)
def test_a_bad_file_is_named_and_leaves_no_half_written_data(tmp_path, fields, damage, message):
  damage(fields)
  builder = make(tmp_path, fields)
  with pytest.raises(ValueError, match=message):
    base.prepare(builder)
  assert not builder.data_path.exists()


@pytest.mark.parametrize(
  "change, message",
  (
    (dict(train=("nowhere", "train/labels")), r"^train: there is no folder .*nowhere"),
    (dict(train="train/images"), r"^train = 'train/images' must be \(image folder"),
    (dict(val=("val/labels",), image_suffix="_x"), r"no image \*_x\{"),
    (dict(classes=("a",), label_ids=()), "must be 2 to 253 different names"),
    (dict(classes=("a", "a"), label_ids=()), "must be 2 to 253 different names"),
    (dict(classes="cityscapes"), r"^classes = 'cityscapes'.*mean 'cityscapes19'"),
    (dict(label_ids=(1, 2)), "label_ids has 2 entries for 3 classes"),
    (dict(label_ids=(1, 2, (3, 1))), r"id 1 is given twice\."),
    (
      dict(label_ids=(0, 255, 3), ignore_ids=(255,)),
      r"id 255 is given twice, .* ignore_ids = \(255,\) unless set, \(\) for none",
    ),
    (dict(label_ids=(1, 2, 0.5)), r"label_ids, ignore_ids: 0\.5 is no whole number"),
    (COLORS | dict(label_ids=(1, 2, 3)), "give label_ids or label_colors, not both"),
    (COLORS | dict(label_colors=()), "ignore_colors needs label_colors"),
    (COLORS | dict(label_colors=((1, 2, 3),)), "label_colors has 1 entries for 3 classes"),
    (
      COLORS | dict(label_colors=((1, 2, 3), 4, 5)),
      r"label_colors: 4 is no color \(red, green, blue",
    ),
    (
      COLORS | dict(label_colors=((1, 2, 3), (4, 5, 6), (7, (8, 9, 10)))),
      r"label_colors: \(7, \(8, 9, 10\)\) is no color",
    ),
    (COLORS | dict(ignore_colors=((0, 160, 0),)), r"the color \(0, 160, 0\) is given twice"),
    (dict(palette=((1, 2, 3),)), "palette must be 3 colors .* given are 1"),
  ),
)
def test_mistakes_in_the_settings_are_explained(tmp_path, fields, change, message):
  with pytest.raises(ValueError, match=message):
    make(tmp_path, fields, **change)


def test_the_prepared_folder_depends_on_paths_and_ids_but_not_on_colors(tmp_path, fields):
  path = lambda **kwargs: str(make(tmp_path, fields, **kwargs).data_path)
  names = [path()]
  palette = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
  assert path() == path(palette=palette) == names[0]
  names += [path(size=(3, 4)), path(train=("train/images",)), path(label_ids=(7, 300, 2))]
  assert len(set(names)) == len(names)


def test_a_repaired_file_lets_a_stopped_preparation_continue(tmp_path, fields, monkeypatch):
  monkeypatch.setattr(shards, "SHARD_SIZE", 1)
  add_id(fields)
  with pytest.raises(ValueError, match="holds the ids 9"):
    base.prepare(make(tmp_path, fields))
  label = fields / "train" / "labels" / "a" / "1.png"
  cv2.imwrite(str(label), np.tile(RAW, (SIZE[0], 1)))
  builder = make(tmp_path, fields)
  folder = base.prepare(builder)
  assert [file.name for file in folder.parent.iterdir()] == [folder.name]
  assert [file.name for file in folder.parent.parent.iterdir()] == [folder.parent.name]
  cv2.imwrite(str(label), np.tile(RAW[::-1], (SIZE[0], 1)))
  with pytest.raises(ValueError, match=r"1 have changed, e\.g\. .*labels/a/1\.png"):
    base.prepare(make(tmp_path, fields))


def test_for_evaluation_no_training_image_is_needed(tmp_path, fields):
  settings = {key: value for key, value in SETTINGS.items() if key != "train"}
  make = lambda role: folders.builder(tmp_path, role, path=fields, **settings)
  folder = base.prepare(make(Role.EVALUATION))
  assert len(Examples(folder, "val", fields=BOTH)) == 1
  with pytest.raises(ValueError, match=r"^train = \(\) must be \(image folder"):
    make(Role.SOURCE)


def test_two_folders_with_the_same_classes_are_the_domains_of_a_run(tmp_path, fields):
  source = dict(name="folders", path=str(fields), **SETTINGS)
  data = {"source": source, "target": source | dict(train=("train/images",)), "cache_mbytes": 1}
  load = lambda data: catalog.load_domains(**data, data_dir=tmp_path)
  domains = load(data)
  assert domains.label_space.names == ("soil", "crop", "weed")
  np.testing.assert_allclose(domains.class_frequency, (3 / 6, 1 / 6, 2 / 6))
  assert list(domains.target_train[0]) == ["image"]
  with pytest.raises(ValueError, match="have no labelled pixel"):
    load(data | {"source": data["target"]})
  other = source | dict(classes=("soil", "crop", "tree"))
  with pytest.raises(ValueError, match=r"the source those of soil, crop, weed \(3 classes\)"):
    load(data | {"target": other})
