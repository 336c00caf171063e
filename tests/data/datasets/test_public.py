import functools
import json
import pathlib
import re
import shutil

import cv2
import miniatures
import numpy as np
import PIL.Image
import pytest
from golden_cases import assert_close, golden

from jax_uda.data.datasets import base, catalog, layouts, pairs
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role
from jax_uda.run import check_data, pair_reader

BOTH = ("image", "label")
EXPECTED = [*range(19), 255]


def make(tmp_path, name, role=None, **kwargs):
  spec = dict(name=name, path=str(tmp_path / "raw"), size=(), **kwargs)
  # Dark Zurich's training images have no labels.
  role = role or (Role.TARGET if name == "dark_zurich" else Role.SOURCE)
  return catalog.find_builder(spec, tmp_path / "prepared", role)


def load(data, data_dir):
  return catalog.load_domains(**data, data_dir=data_dir)


def prepared(tmp_path, name, fields=BOTH, **kwargs):
  folder = base.prepare(make(tmp_path, name, **kwargs))
  return lambda split: Examples(folder, split, fields=fields)


# Data set -> numbers of images for training and evaluation.
NUMBERS = {
  "gta5": (3, 1),
  "synthia": (3, 1),
  "synscapes": (3, 1),
  "cityscapes": (2, 1),
  "dark_zurich": (2, 1),
  "acdc": (4, 4),
  "nighttime_driving": (0, 1),
  "bdd100k": (1, 1),
  "mapillary": (1, 1),
  "wilddash2": (1, 1),
}


@pytest.mark.parametrize("name", layouts.LAYOUTS)
def test_a_data_set_is_read_back_with_exact_ids(tmp_path, name):
  getattr(miniatures, name)(tmp_path / "raw")
  read = prepared(tmp_path, name)
  for split, number in zip(("train", "val"), NUMBERS[name], strict=True):
    if not number:
      continue
    examples = read(split)
    assert len(examples) == number
    labelled = (name, split) != ("dark_zurich", "train")
    for example in examples:
      assert example["image"].shape == (10, 20, 3) and example["image"].std() > 20
      np.testing.assert_array_equal(
        example["label"], miniatures.columns(EXPECTED if labelled else [255] * 20)
      )


def test_images_are_those_of_the_files_in_order(tmp_path):
  miniatures.gta5(tmp_path / "raw")
  images = [example["image"] for example in prepared(tmp_path, "gta5")("train")]
  for i, image in enumerate(images, 1):
    file = cv2.imread(str(tmp_path / f"raw/images/{i:05d}.png"))[..., ::-1]
    np.testing.assert_array_equal(image, file)


@pytest.mark.parametrize(
  "name, write",
  (
    ("cityscapes", functools.partial(miniatures.cityscapes, kind="labelTrainIds")),
    ("dark_zurich", functools.partial(miniatures.dark_zurich, flat=True)),
    ("acdc", functools.partial(miniatures.acdc, flat=True)),
  ),
)
def test_other_forms_of_a_data_set_are_read_alike(tmp_path, name, write):
  write(tmp_path / "raw")
  read = prepared(tmp_path, name)
  assert (len(read("train")), len(read("val"))) == NUMBERS[name]
  for example in read("val"):
    assert example["label"][3].tolist() == EXPECTED


def test_labels_of_mapillary_1_2_may_lie_as_in_release_2_0(tmp_path):
  miniatures.mapillary(tmp_path / "raw")
  for split in ("training", "validation"):
    (tmp_path / "raw" / split / "v1.2").mkdir()
    (tmp_path / "raw" / split / "labels").rename(tmp_path / "raw" / split / "v1.2" / "labels")
  assert prepared(tmp_path, "mapillary")("val")[0]["label"][3].tolist() == EXPECTED


def _bdd(root, images, labels):
  """Images, and labels whose pixels are all their position in `labels`."""
  for name in images:
    miniatures.write_image(root / "images/10k/train" / f"{name}.jpg")
  for number, name in enumerate(labels):
    label = np.full(miniatures.SIZE, number, np.uint8)
    miniatures.write_grey(root / "labels/sem_seg/masks/train" / f"{name}.png", label)
  return [pairs.read(pair) for pair in pairs.find(root, "train", layouts.LAYOUTS["bdd100k"])]


def test_images_of_one_name_in_several_folders_keep_their_labels(tmp_path):
  names = ("a/1", "a/2", "b/1", "b/3")
  examples = _bdd(tmp_path, names, names)
  assert [label.max() for _, label in examples] == [0, 1, 2, 3]


def test_labels_in_other_folders_are_found_by_name(tmp_path):
  examples = _bdd(tmp_path, ("a/1", "a/2", "b/1"), ("1", "x/2", "a/1"))
  assert [label.max() for _, label in examples] == [2, 1, 0]


@pytest.mark.parametrize(
  "images, labels, named",
  (
    (("a/1", "b/1"), ("1",), ("images/10k/train/a/1.jpg", "images/10k/train/b/1.jpg")),
    (("1",), ("a/1", "b/1"), ("masks/train/a/1.png", "masks/train/b/1.png")),
  ),
)
def test_files_of_one_name_that_cannot_be_told_apart_are_named(tmp_path, images, labels, named):
  with pytest.raises(ValueError, match="have one name") as error:
    _bdd(tmp_path, images, labels)
  assert all(file in str(error.value) for file in named)


def test_a_label_is_not_that_of_another_image_of_its_name(tmp_path):
  with pytest.raises(ValueError, match=r"No label for image .*b/1\.jpg: expected .*train/b/1\.png"):
    _bdd(tmp_path, ("a/1", "b/1"), ("a/1",))


@pytest.mark.parametrize("name", ("gta5", "synthia"))
def test_converted_labels_beside_the_originals_do_no_harm_and_serve_without_them(tmp_path, name):
  root = tmp_path / "raw"
  getattr(miniatures, name)(root)
  folder = {"gta5": root / "labels", "synthia": root / "GT/LABELS"}[name]
  for file in sorted(folder.glob("*.png")):
    converted = miniatures.columns(miniatures.TRAIN_IDS)
    miniatures.write_grey(file.with_name(f"{file.stem}_labelTrainIds.png"), converted)
  file.unlink()
  examples = prepared(tmp_path, name)("train")
  assert [example["label"][0].tolist() for example in examples] == [EXPECTED] * 3


def test_training_labels_and_all_images_are_resized_and_scores_taken_at_full_size(tmp_path):
  miniatures.cityscapes(tmp_path / "raw")
  folder = base.prepare(
    catalog.find_builder(
      dict(name="cityscapes", path=str(tmp_path / "raw"), size=(8, 10)), tmp_path, Role.SOURCE
    )
  )
  train, val = (Examples(folder, split, fields=BOTH)[0] for split in ("train", "val"))
  assert train["image"].shape == val["image"].shape == (5, 10, 3)
  assert train["label"].tolist() == [EXPECTED[::2]] * 5
  assert val["label"].shape == (10, 20)
  counts = np.load(folder / "class_counts_train.npy")
  assert counts.tolist() == [[10] * 19] * 2  # of the label files


def test_without_a_size_images_get_that_of_the_usual_recipe(tmp_path):
  miniatures.bdd100k(tmp_path / "raw")
  assert make(tmp_path, "bdd100k").data_path.parent.name.startswith("full-")
  spec = dict(name="gta5", path=str(tmp_path))
  assert catalog.find_builder(spec, tmp_path, Role.SOURCE).data_path.parent.name.startswith(
    "720x1280-"
  )


def test_a_condition_of_acdc_is_a_split(tmp_path):
  miniatures.acdc(tmp_path / "raw")
  folder = base.prepare(make(tmp_path, "acdc", train="night/train", val="fog/val"))
  names = lambda split: json.loads((folder / f"names_{split}.json").read_text())
  assert names("train") == ["GP01_night_rgb_anon.png"] and names("val") == ["GP01_fog_rgb_anon.png"]


def test_a_test_split_without_labels_can_be_predicted(tmp_path):
  miniatures.cityscapes(tmp_path / "raw")
  examples = prepared(tmp_path, "cityscapes", val="test")("val")
  assert len(examples) == 1 and (examples[0]["label"] == 255).all()


@pytest.mark.parametrize("name", ("dark_zurich", "acdc"))
def test_invalid_pixels_count_unless_they_are_to_be_ignored(tmp_path, name):
  getattr(miniatures, name)(tmp_path / "raw")
  label = prepared(tmp_path, name, ignore_invalid=True)("val")[0]["label"]
  assert (label[:2] == 255).all() and (label[2:] == EXPECTED).all()
  assert (prepared(tmp_path, name)("val")[0]["label"] == EXPECTED).all()


def test_masks_of_invalid_pixels_may_be_ids(tmp_path):
  miniatures.acdc(tmp_path / "raw")
  for file in sorted((tmp_path / "raw" / "gt").rglob("*_gt_invGray.png")):
    label = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    cv2.imwrite(str(file).replace("invGray", "invIds"), label // 255)
    file.unlink()
  label = prepared(tmp_path, "acdc", ignore_invalid=True)("val")[0]["label"]
  assert (label[:2] == 255).all() and (label[2:] == EXPECTED).all()


def test_night_images_bring_their_day_images_into_the_training_batches(tmp_path):
  root = tmp_path / "raw"
  miniatures.dark_zurich(root)
  miniatures.cityscapes(root)
  source = dict(name="cityscapes", path=str(root), size=(8, 16))
  target = dict(name="dark_zurich", path=str(root), size=(8, 16), day_images=True)
  data = dict(source=source, target=target, cache_mbytes=1)
  domains = load(data, tmp_path)
  for example, day in zip(domains.target_train, (8, 7), strict=True):
    file = cv2.imread(str(root / f"rgb_anon/train/day/D1/D1_{day}_rgb_anon.png"))[..., ::-1]
    np.testing.assert_array_equal(example["day_image"], cv2.resize(file, (16, 8)))
    assert sorted(example) == ["day_image", "image"]
  batches = pipeline.training_batches(
    domains.source_train,
    domains.target_train,
    pipeline.BatchSettings(batch_size=2, crop_size=(4, 6), seed=0),
  )
  assert batches[0]["target"]["day_image"].shape == (2, 4, 6, 3)
  assert domains.target_val[0]["label"].shape == (10, 20)


def test_a_missing_day_image_is_explained(tmp_path):
  miniatures.dark_zurich(tmp_path / "raw")
  (tmp_path / "raw/rgb_anon/train/day/D1/D1_7_rgb_anon.png").unlink()
  with pytest.raises(ValueError, match=r"day_images: 1 of 2 images.*N1_2_rgb_anon\.png; expected"):
    base.prepare(make(tmp_path, "dark_zurich", day_images=True))


@pytest.mark.parametrize(
  "classes, expected",
  (
    ("synthia16", [*range(9), 255, 9, 10, 11, 12, 255, 13, 255, 14, 15, 255]),
    ("synthia13", [0, 1, 2, *[255] * 3, 3, 4, 5, 255, 6, 7, 8, 9, 255, 10, 255, 11, 12, 255]),
    ("camvid11", [3, 4, 1, 7, 7, 2, 6, 6, 5, 5, 0, 9, 10, 8, 8, 8, 8, 10, 10, 255]),
  ),
)
def test_labels_are_given_in_the_classes_asked_for(tmp_path, classes, expected):
  miniatures.cityscapes(tmp_path / "raw")
  builder = make(tmp_path, "cityscapes", classes=classes)
  assert builder.label_space.num_classes == max(set(expected) - {255}) + 1
  folder = base.prepare(builder)
  assert Examples(folder, "val", fields=BOTH)[0]["label"].tolist() == [expected] * 10
  counts = catalog.class_counts(folder, "train", builder.label_space.num_classes)
  assert counts[0].tolist() == [10 * expected.count(c) for c in range(counts.shape[1])]


def test_a_prepared_data_set_needs_its_files_no_more(tmp_path):
  miniatures.synthia(tmp_path / "raw")
  folder = base.prepare(make(tmp_path, "synthia"))
  (tmp_path / "raw").rename(tmp_path / "gone")
  assert base.prepare(make(tmp_path, "synthia")) == folder
  assert json.loads((folder / "names_train.json").read_text())[2] == "0000002.png"
  with pytest.raises(ValueError, match=r"is no folder and not prepared; expected SYNTHIA.*RGB/"):
    make(tmp_path, "synthia", classes="synthia16")


def test_check_data_reads_what_is_prepared_when_only_an_empty_folder_is_left(tmp_path):
  miniatures.gta5(tmp_path / "raw")
  base.prepare(make(tmp_path, "gta5"))
  shutil.rmtree(tmp_path / "raw")
  (tmp_path / "raw").mkdir()
  number, read = pair_reader.reader(make(tmp_path, "gta5"), "train")
  assert number == 3 and check_data.scan(number, read, 19).pixels.tolist() == [30] * 19


def test_a_target_without_any_label_folder_serves_training(tmp_path):
  miniatures.cityscapes(tmp_path / "raw")
  for file in sorted((tmp_path / "raw/gtFine/train").rglob("*.png")):
    file.unlink()
  (tmp_path / "raw/gtFine/train").rename(tmp_path / "moved")
  spec = dict(name="cityscapes", path=str(tmp_path / "raw"), size=())
  miniatures.gta5(tmp_path / "gta5")
  source = dict(name="gta5", path=str(tmp_path / "gta5"), size=())
  data = dict(source=source, target=spec, cache_mbytes=1)
  domains = load(data, tmp_path)
  assert list(domains.target_train[0]) == ["image"] and len(domains.target_train) == 2


def test_labels_of_a_targets_training_images_are_not_opened(tmp_path, monkeypatch):
  miniatures.cityscapes(tmp_path / "raw")
  opened = []
  read_ids = pairs.read_ids
  monkeypatch.setattr(
    pairs, "read_ids", lambda file, *more: opened.append(file.name) or read_ids(file, *more)
  )
  read = prepared(tmp_path, "cityscapes", role=Role.TARGET)
  assert opened == ["lindau_000000_000019_gtFine_labelIds.png"]
  assert all((example["label"] == 255).all() for example in read("train"))
  source = prepared(tmp_path, "cityscapes", role=Role.SOURCE)
  assert source("train")[0]["label"][0].tolist() == EXPECTED


def test_of_a_set_for_evaluation_only_that_is_prepared(tmp_path):
  miniatures.cityscapes(tmp_path / "raw")
  shutil.rmtree(tmp_path / "raw/leftImg8bit/train")
  read = prepared(tmp_path, "cityscapes", role=Role.EVALUATION)
  assert len(read("val")) == 1
  with pytest.raises(ValueError, match="has no split 'train'"):
    read("train")
  shutil.rmtree(tmp_path / "raw")
  miniatures.gta5(tmp_path / "raw")
  assert len(prepared(tmp_path, "gta5", role=Role.EVALUATION)("val")) == 1


@pytest.mark.parametrize(
  "name, settings, gone, message",
  (
    ("gta5", {}, "labels", r"labels of train \(3 images, e\.g\. .*00001\.png\).*role=target"),
    ("cityscapes", {}, "gtFine/val", "labels of val .*only a test split may go without"),
    ("cityscapes", dict(role=Role.TARGET), "gtFine/val", "labels of val"),
    ("acdc", dict(train="night/train"), "gt/night/train", "labels of train"),
    ("nighttime_driving", {}, "gtCoarse_daytime_trainvaltest", "labels of val"),
  ),
)
def test_a_missing_label_folder_is_named_before_anything_is_converted(
  tmp_path, name, settings, gone, message
):
  getattr(miniatures, name)(tmp_path / "raw")
  (tmp_path / "raw" / gone).rename(tmp_path / "labels")
  builder = make(tmp_path, name, **settings)
  with pytest.raises(ValueError, match=message):
    base.prepare(builder, skip=True)
  assert not builder.data_path.parent.exists()
  (tmp_path / "labels").rename(tmp_path / "raw" / gone)
  base.prepare(make(tmp_path, name, **settings))


def test_labels_that_come_later_are_noticed(tmp_path):
  root = tmp_path / "raw"
  miniatures.cityscapes(root)
  (root / "gtFine/test").mkdir()
  (root / "gtFine/test").rename(tmp_path / "test")
  base.prepare(make(tmp_path, "cityscapes", val="test"))
  (tmp_path / "test").rename(root / "gtFine/test")
  label = root / "gtFine/test/bonn/bonn_000000_000019_gtFine_labelIds.png"
  miniatures.write_grey(label, miniatures.columns(miniatures.CITYSCAPES))
  with pytest.raises(ValueError, match="1 have changed, e.g. .*bonn_000000_000019_gtFine_labelIds"):
    base.prepare(make(tmp_path, "cityscapes", val="test"))
  base.prepare(make(tmp_path, "cityscapes", val="test"), renew=True)
  assert prepared(tmp_path, "cityscapes", val="test")("val")[0]["label"][0].tolist() == EXPECTED


def test_other_images_have_another_digest_of_names(tmp_path):
  miniatures.acdc(tmp_path / "raw")
  digest = lambda train: prepared(tmp_path, "acdc", train=train)("train").names_digest
  assert len({digest("night/train"), digest("fog/train"), digest("train")}) == 3
  assert digest("night/train") == digest("night/train") != ""


def test_rare_classes_may_be_drawn_by_the_reference_s_statistics(tmp_path):
  root = tmp_path / "raw"
  miniatures.gta5(root)
  stats = [{"5": 100 * i, "file": f"x/{i:05d}_labelTrainIds.png"} for i in (2, 1, 3)]
  (tmp_path / "stats.json").write_text(json.dumps(stats))
  plain = dict(name="gta5", path=str(root), size=(8, 16))
  source = plain | dict(class_stats=str(tmp_path / "stats.json"))
  data = dict(source=source, target=plain, cache_mbytes=0)
  domains = load(data, tmp_path)
  assert domains.source_train.class_counts[:, 5].tolist() == [100, 200, 300]
  assert domains.class_frequency[5] == 1


def test_a_set_for_evaluation_alone_cannot_be_trained_on(tmp_path):
  miniatures.nighttime_driving(tmp_path / "raw")
  spec = dict(name="nighttime_driving", path=str(tmp_path / "raw"))
  with pytest.raises(
    ValueError, match=r"nighttime_driving has no split 'train': it serves evaluation only"
  ):
    load(dict(source=spec, target=spec, cache_mbytes=0), tmp_path)


def test_a_scaled_label_is_good_in_gta5_alone(tmp_path):
  root = tmp_path / "raw"
  miniatures.gta5(root)
  half = miniatures.columns(miniatures.CITYSCAPES)[::2, ::2].copy()
  miniatures.write_palette(root / "labels/00002.png", half)
  miniatures.write_palette(root / "labels/00003.png", np.full((102, 200), 7, np.uint8))
  label = prepared(tmp_path, "gta5")("train")[1]["label"]
  np.testing.assert_array_equal(label, miniatures.columns(np.repeat(EXPECTED[::2], 2)))
  miniatures.cityscapes(root)
  miniatures.write_grey(root / "gtFine/train/ulm/ulm_000000_000019_gtFine_labelIds.png", half)
  with pytest.raises(ValueError, match=r"has size \(5, 10\), its image \(10, 20\)"):
    prepared(tmp_path, "cityscapes")


def test_check_data_reads_the_files(tmp_path):
  miniatures.gta5(tmp_path / "raw")
  number, read = pair_reader.reader(make(tmp_path, "gta5"), "train")
  findings = check_data.scan(number, read, 19)
  assert findings.sizes == {(10, 20): 3} and findings.pixels.tolist() == [30] * 19


def check_run(tmp_path, source, target):
  return check_data.check(dict(dir=str(tmp_path), source=source, target=target), tmp_path / "out")


def test_a_missing_folder_of_labels_is_an_error_after_a_look_at_everything(tmp_path, capsys):
  root = tmp_path / "cityscapes"
  miniatures.cityscapes(root)
  (root / "gtFine/train").rename(root / "elsewhere")
  source = dict(name="cityscapes", path=str(root), size=())
  with pytest.raises(ValueError, match=r"no folder with the labels of train \(2 images"):
    check_run(tmp_path, source, source)
  assert "target val: 1 pairs" in capsys.readouterr().out
  assert "labels of train" in (tmp_path / "out" / "check_problems.txt").read_text()


def test_a_damaged_day_image_is_found(tmp_path):
  miniatures.cityscapes(tmp_path / "cityscapes")
  source = dict(name="cityscapes", path=str(tmp_path / "cityscapes"), size=())
  root = tmp_path / "dark_zurich"
  miniatures.dark_zurich(root)
  days = sorted((root / "rgb_anon/train/day").rglob("*.png"))
  for day in days:
    day.write_bytes(b"?")
  target = dict(name="dark_zurich", path=str(root), size=(), day_images=True)
  with pytest.raises(ValueError, match=r"pairs cannot be used"):
    check_run(tmp_path, source, target)
  problems = (tmp_path / "out" / "check_problems.txt").read_text()
  assert str(days[0]) in problems


@pytest.mark.parametrize(
  "name, settings, message",
  (
    ("acdc", dict(train="nigth/train"), r"train = 'nigth/train'.*mean 'night/train'"),
    ("gta5", dict(classes="cityscape"), r"classes = 'cityscape'.*mean 'cityscapes19'"),
    ("gta5", dict(day_images=True), r"day_images: there are none in GTA5"),
    ("gta5", dict(ignore_invalid=True), r"ignore_invalid: GTA5 has no masks"),
    ("gta5", dict(sizes=3), r"no field 'sizes'.*mean 'size'"),
  ),
)
def test_mistakes_in_the_config_are_explained(tmp_path, name, settings, message):
  (tmp_path / "raw").mkdir()
  with pytest.raises(ValueError, match=message):
    make(tmp_path, name, **settings)


def test_missing_folders_and_images_are_explained(tmp_path):
  root = tmp_path / "raw"
  root.mkdir()
  with pytest.raises(ValueError, match=r"has no folder RGB; expected SYNTHIA"):
    prepared(tmp_path, "synthia")
  (root / "RGB").mkdir()
  with pytest.raises(ValueError, match=r"no image \*\.png in or below RGB; expected SYNTHIA"):
    prepared(tmp_path, "synthia")


@pytest.mark.parametrize("case", golden("base/image_rescale"))
def test_prepared_examples_match_the_reference_s_resizing(tmp_path, case):
  ids = np.array(miniatures.CITYSCAPES)[case.lab_in % 20].astype(np.uint8)
  miniatures.write_palette(tmp_path / "raw/labels/1.png", ids)
  (tmp_path / "raw/images").mkdir()
  cv2.imwrite(str(tmp_path / "raw/images/1.png"), case.img_in)  # blue, green, red as OpenCV read it
  for image, label in zip(case.parts("img"), case.parts("lab"), strict=True):
    width, height = image.size_wh.tolist()
    spec = dict(name="gta5", path=str(tmp_path / "raw"), size=(height, width))
    folder = base.prepare(catalog.find_builder(spec, tmp_path, Role.SOURCE))
    example = Examples(folder, "train", fields=BOTH)[0]
    assert_close(example["image"][..., ::-1], image.out, rtol=0, atol=1)
    np.testing.assert_array_equal(example["label"], np.array(EXPECTED)[label.out % 20])


@pytest.mark.parametrize("case", golden("base/label_maps"))
@pytest.mark.parametrize(
  "name, key",
  (("cityscapes", "gta_or_cityscapes_labelid_to_trainid"), ("synthia", "synthia_id_to_trainid")),
)
def test_all_known_ids_are_mapped_as_in_the_reference(tmp_path, case, name, key):
  kind = layouts.LAYOUTS[name].labels[0]
  image = tmp_path / "image.png"
  label = np.arange(kind.num_ids, dtype=np.uint8)[None]
  miniatures.write_image(image, size=label.shape)
  write = miniatures.write_red16 if name == "synthia" else miniatures.write_grey
  write(tmp_path / "label.png", label)
  read = pairs.read(pairs.Pair(image, tmp_path / "label.png", kind))[1]
  np.testing.assert_array_equal(read[0], case[key][: kind.num_ids])


def test_the_page_on_data_sets_names_them_all_and_its_example_fits(tmp_path):
  text = (pathlib.Path(__file__).parents[3] / "docs" / "data.md").read_text()
  assert all(f"| `{name}`" in text for name in layouts.LAYOUTS)
  code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
  names = {}
  exec(code, names)
  config = names["config"]
  for spec in (config.data.source, config.data.target, config.eval.targets.night):
    here = dict(spec) | dict(path=str(tmp_path))
    assert catalog.find_builder(here, tmp_path, Role.SOURCE).label_space.num_classes == 19


@pytest.mark.parametrize("bits", (1, 2, 4, 8))
def test_palettes_of_few_bits_hold_the_same_ids(tmp_path, bits):
  label = miniatures.columns(np.arange(20) % 2**bits)
  image = PIL.Image.frombytes("P", label.shape[::-1], label.tobytes())
  image.putpalette([(11 * i) % 256 for i in range(3 * 2**bits)])
  image.save(tmp_path / "label.png", bits=bits)
  assert (tmp_path / "label.png").read_bytes()[24] == bits
  np.testing.assert_array_equal(pairs.read_ids(tmp_path / "label.png"), label)


def test_masks_of_one_bit_and_grey_labels_of_16_bits_are_read(tmp_path):
  label = miniatures.columns(range(20))
  PIL.Image.fromarray(label > 9).save(tmp_path / "mask.png")
  np.testing.assert_array_equal(pairs.read_ids(tmp_path / "mask.png") > 0, label > 9)
  miniatures.write_grey(tmp_path / "grey.png", label.astype(np.uint16))
  np.testing.assert_array_equal(pairs.read_ids(tmp_path / "grey.png"), label)
