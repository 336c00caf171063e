"""Folders as people have them: what counts, what is left out, and which label belongs to which image."""

import os
import pathlib
import unicodedata

import numpy as np
import PIL.Image
import pytest
from absl import flags
from robustness import one_of_each
from robustness.one_of_each import exif, picture, save
from robustness.table import Case, check, check_sentence, parametrize

from jax_uda.cli import command
from jax_uda.common import file_walk, files, log, paths, text
from jax_uda.data.datasets import base, catalog, folder_pairs
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role
from jax_uda.run import check_data

LATIN = b"stra\xdfe.png".decode("utf-8", "surrogateescape")


def spec(root, **changes):
  """A data set of the images and labels below `root`."""
  both = ("images", "labels")
  fields = dict(name="folders", path=str(root), train=both, val=both)
  return fields | dict(classes=("soil", "crop", "weed")) | changes


def three(root, image_ending=".png", label_ending=".png", size=one_of_each.SIZE):
  """Makes three pairs; returns their folders."""
  for seed in range(3):
    image, label = picture(seed, size)
    save(root / "images" / f"{seed}{image_ending}", image)
    save(root / "labels" / f"{seed}{label_ending}", label)
  return root / "images", root / "labels"


def prepared(root, **changes):
  """The names and the classes of all training examples, as they are stored."""
  settings = spec(root, **changes)
  domains = catalog.load_domains(settings, settings, data_dir=root / "prepared")
  return len(domains.source_train), sum(len(np.unique(e["label"])) for e in domains.source_train)


def with_change(change, *, three_settings=(), **changes):
  """Prepares three pairs after a change of their folders."""

  def read(root):
    change(*three(root, *three_settings))
    return prepared(root, **changes)

  return read


def pairs_after(change, *three_settings):
  """The names of the labels that are there, by the names of images, after a change."""

  def read(root):
    change(*three(root, *three_settings))
    pairs = folder_pairs.find(root, ("images", "labels"))
    return [f"{p.image.name} {p.label.name}" for p in pairs if p.label and p.label.is_file()]

  return read


def left_out_after(change):
  def read(root):
    images, labels = three(root)
    change(images, labels)
    walk = file_walk.find(images)
    assert [file.name for file in walk.files if file.suffix == ".png"] == [
      "0.png",
      "1.png",
      "2.png",
    ]
    return sorted(walk.left_out.items())

  return read


def _nothing(images, labels):
  pass


def _loop(images, labels):
  (images / "again").symlink_to(".")
  (images / "above").symlink_to("..")


def _many_loops(images, labels):
  for i in range(12):
    (images / f"d{i}").mkdir()
  for i in range(12):
    for j in range(12):
      (images / f"d{i}" / f"to{j}").symlink_to(f"../d{j}")


def _outside(images, labels):
  for folder in (images, labels):
    folder.rename(folder.with_name(f"real_{folder.name}"))
    folder.mkdir()
    (folder / "linked").symlink_to(folder.with_name(f"real_{folder.name}"))


def _hidden(images, labels):
  for name in (".ipynb_checkpoints/0-checkpoint.png", ".hidden.png"):
    save(images / name, picture()[0])
  (images / "._0.png").write_bytes(b"\0\5\26\7" + bytes(100))
  (images / ".DS_Store").write_bytes(bytes(10))


def _of_systems(images, labels):
  for name in ("Thumbs.db", "desktop.ini"):
    (images / name).write_bytes(bytes(10))
  save(images / "__MACOSX" / "0.png", picture()[0])


def _thumbnails(images, labels):
  for name in ("thumbnails/0.png", "@eaDir/0.png", "0_thumb.png", "thumb_1.jpg", "2.thumbnail.png"):
    save(images / name, picture()[0])


def _left_thumb(images, labels):
  for folder in (images, labels):  # a hand, not the small copy of an image `left`
    (folder / "0.png").rename(folder / "left_thumb.png")


def _renamed(name):
  def change(images, labels):
    for folder in (images, labels):
      (folder / "0.png").rename(folder / name)

  return change


def _from_a_mac(images, labels):
  for folder, form in ((images, "NFC"), (labels, "NFD")):
    (folder / "0.png").rename(folder / unicodedata.normalize(form, "Straße_März.png"))


def _closed(images, labels):
  """A folder that answers as one without permission, which root would have."""
  save(images / "closed" / "3.png", picture()[0])
  scandir = os.scandir

  def refuse(place):
    if os.path.basename(place) == "closed":
      raise PermissionError(13, "Permission denied", place)
    return scandir(place)

  os.scandir = refuse


def _in_folder(name):
  def change(images, labels):
    for folder in (images, labels):
      (folder / name).mkdir()
      (folder / "0.png").rename(folder / name / "0.png")

  return change


def _resized(height, width):
  def change(images, labels):
    image, label = picture(0, (height, width))
    save(images / "0.png", image)
    save(labels / "0.png", label)

  return change


def _turned(orientation, label_is_turned):
  def change(images, labels):
    image, label = picture()
    (images / "0.png").unlink()
    save(images / "0.jpg", image, exif=exif(orientation))
    if label_is_turned:
      upright = {3: np.rot90(label, 2), 6: np.rot90(label, -1)}[orientation]
      save(labels / "0.png", np.ascontiguousarray(upright))

  return change


def _to_jpeg(images, labels):
  for file in sorted(labels.iterdir()):
    PIL.Image.open(file).save(file.with_suffix(".jpg"))
    file.unlink()


def _double_endings(images, labels):
  for file in sorted(labels.iterdir()):
    file.rename(file.with_name(f"{file.stem}.jpg.png"))


def _masks(*values):
  """Labels of two values alone."""

  def change(images, labels):
    for file in sorted(labels.iterdir()):
      save(file, np.array(values, np.uint8)[np.minimum(picture()[1], 1)])

  return change


def _only_heic(images, labels):
  for file in sorted(images.iterdir()):
    file.rename(file.with_suffix(".heic"))


def _twice(images, labels):
  save(images / "0.jpg", picture()[0])


THREE = ["0.png 0.png", "1.png 1.png", "2.png 2.png"]
TWO = dict(classes=("field", "weed"))

CASES = (
  # Which files count.
  Case("links into themselves", left_out_after(_loop), [(file_walk.AGAIN, 2)]),
  Case("links in all directions", left_out_after(_many_loops), [(file_walk.AGAIN, 144)]),
  Case("links to other folders", with_change(_outside), (3, 9)),
  Case("hidden files", left_out_after(_hidden), [(file_walk.HIDDEN, 4)]),
  Case("files of systems", left_out_after(_of_systems), [(file_walk.OF_SYSTEMS, 3)]),
  Case("thumbnails", left_out_after(_thumbnails), [(file_walk.THUMBNAILS, 5)]),
  Case("a name like a thumbnail", with_change(_left_thumb), (3, 9)),
  Case("no images at all", with_change(_only_heic), sentence=r"no image \*\{\.png,.* \(3 files left out: 3 \.heic\)"),
  Case("two images of one name", with_change(_twice), sentence="have one name but for their endings"),
  # Endings and names.
  *(Case(f"images as {ending}", with_change(_nothing, three_settings=(ending,)), (3, 9)) for ending in (".jpg", ".jpeg", ".jfif", ".webp", ".JPG", ".tif", ".TIFF", ".bmp")),
  *(Case(f"labels as {ending}", with_change(_nothing, three_settings=(".png", ending)), (3, 9)) for ending in (".tif", ".bmp", ".PNG")),
  Case("labels as 0.jpg.png", pairs_after(_double_endings, ".jpg"), ["0.jpg 0.jpg.png", "1.jpg 1.jpg.png", "2.jpg 2.jpg.png"]),
  Case("labels as JPEG", with_change(_to_jpeg), sentence=r"3 of 6 images have no label|6 of 6 images have no label, .*0\.jpg is there, but \.jpg changes the values"),
  Case("a name that is not UTF-8", with_change(_renamed(LATIN)), (3, 9)),
  Case("a label from a Mac", with_change(_from_a_mac), (3, 9)),
  Case("a folder that may not be opened", with_change(_closed), sentence="images/closed cannot be read: Permission denied"),
  Case("a name of 255 bytes", with_change(_renamed("ä" * 125 + "x.png")), (3, 9)),
  Case("a name that steers a terminal", with_change(_renamed("\x1b[31m\n.png")), (3, 9)),
  Case("commas and spaces in a folder", with_change(_in_folder("north, 2nd half")), (3, 9)),
  # Sizes and orientation.
  *(Case(f"an image of {h}x{w}", with_change(_resized(h, w), size=size), lambda x: x[0] == 3) for h, w in ((1, 300), (2, 4000), (900, 8)) for size in ((), (24, 32))),
  Case("an image upside down", with_change(_turned(3, True)), (3, 9)),
  Case("an image on its side", with_change(_turned(6, True)), (3, 9)),
  Case("a label that was not turned", with_change(_turned(6, False)), sentence=r"0\.png has size \(32, 48\), its image \(48, 32\): the EXIF orientation of 0\.jpg turns it"),
  # Classes.
  Case("masks of 0 and 1", with_change(_masks(0, 1), **TWO), (3, 6)),
  Case("masks of 0 and 255", with_change(_masks(0, 255), **TWO), sentence=r"^source: weed never occurs .* hold 255 \(\d.* %\), 0 \(\d.* %\)\. .*label_ids=\(0, 255\), ignore_ids=\(\)"),
  Case("masks of 0 and 255, named", with_change(_masks(0, 255), label_ids=(0, 255), ignore_ids=(), **TWO), (3, 6)),
  Case("a class that never occurs", with_change(_nothing, classes=("a", "b", "c", "d")), sentence="d never occurs in the labels of its training images, which hold 0"),
  Case("a class that may be missing", with_change(_nothing, classes=("a", "b", "c", "d"), allow_missing=True), (3, 9)),
  # Settings.
  Case("bands that are none", with_change(_nothing, bands=(0, 1, 2)), sentence=r"bands = \(0, 1, 2\) must be"),
  Case("two bands", with_change(_nothing, bands=(1, 2)), sentence=r"bands = \(1, 2\) must be"),
  Case("a range that is none", with_change(_nothing, value_range=(9, 9)), sentence=r"value_range = \(9, 9\) must be"),
  Case("a range per two bands", with_change(_nothing, value_range=((0, 1), (0, 1))), sentence="value_range = .* must be"),
  Case("three ranges for a band", with_change(_nothing, bands=(1,), value_range=((0, 1),) * 3), sentence="three pairs for one band"),
  Case("no pixels allowed", with_change(_nothing, max_image_pixels=0), sentence="max_image_pixels = 0 must be"),
  Case("few pixels allowed", with_change(_nothing, max_image_pixels=99), sentence=r"0\.png has 32x48 = 1536 pixels, more than max_image_pixels = 99"),
)  # fmt: skip


@parametrize(*CASES)
def test_a_folder_is_read_or_refused_in_one_sentence(case, tmp_path, monkeypatch):
  monkeypatch.setattr(os, "scandir", os.scandir)  # a case may replace it
  check(case, tmp_path)


def test_public_layouts_follow_the_same_rule(tmp_path):
  images, labels = tmp_path / "train", tmp_path / "trainannot"
  for place, array in ((images, picture()[0]), (labels, picture()[1])):
    for name in ("0.PNG", "1.png", "._0.png", ".ipynb_checkpoints/0.png"):
      save(place / name, array)
  (images / "again").symlink_to(".")
  settings = dict(name="camvid", path=str(tmp_path), train="train", val="train")
  builder = catalog.find_builder(settings, tmp_path / "prepared", Role.SOURCE)
  assert [pair.image.name for pair in builder.find_pairs()["train"]] == ["0.PNG", "1.png"]
  assert builder.left_out()["train"] == {file_walk.HIDDEN: 4, file_walk.AGAIN: 1}


def deep(root, factor=4):
  """Three pairs whose images have 16 bits and use a small part of them."""
  images, _ = three(root)
  for seed in range(3):
    (images / f"{seed}.png").unlink()
    values = picture(seed)[0].astype(np.uint16) * factor + 200
    save(images / f"{seed}.tif", values, photometric="rgb")
  return images


def images_of(builder, split="train"):
  return [e["image"] for e in Examples(base.prepare(builder, renew=True), split, fields=("image",))]


def test_a_range_of_percentiles_is_stored_and_used_again(tmp_path):
  images = deep(tmp_path)
  settings = spec(tmp_path, value_range="percentile")
  make = lambda role=Role.SOURCE: catalog.find_builder(settings, tmp_path / "prepared", role)
  before = images_of(make())
  values = np.concatenate([picture(seed)[0].reshape(-1, 3) for seed in range(3)]) * 4.0 + 200
  ends = np.percentile(values, (2, 98), axis=0).T
  np.testing.assert_allclose(make().reading.value_range, ends)
  assert before[0].min() == 0 and before[0].max() == 255
  domains = catalog.load_domains(settings, settings, data_dir=tmp_path / "prepared")
  np.testing.assert_allclose(domains.reading.value_range, ends)
  for file in images.iterdir():  # prepared data need no files
    file.rename(file.with_suffix(".gone"))
  np.testing.assert_allclose(make().reading.value_range, ends)
  with pytest.raises(ValueError, match="value_range = 'percentile' needs training images"):
    make(Role.EVALUATION)


def test_other_training_images_change_the_range_of_all(tmp_path):
  images = deep(tmp_path)
  settings = spec(tmp_path, value_range="percentile")
  make = lambda: catalog.find_builder(settings, tmp_path / "prepared", Role.SOURCE)
  first = images_of(make())
  bright = picture(2)[0].astype(np.uint16) * 200
  save(images / "2.tif", bright, photometric="rgb")
  again = images_of(make())
  assert again[0].max() < first[0].max()  # of an image that did not change
  np.testing.assert_array_equal(images_of(make())[0], again[0])


def test_bands_and_range_make_another_data_set(tmp_path):
  deep(tmp_path)
  make = lambda **changes: catalog.find_builder(
    spec(tmp_path, **changes), tmp_path / "prepared", Role.SOURCE
  )
  changes = ({}, dict(bands=(3, 2, 1)), dict(value_range=(0, 3000)), dict(value_range="percentile"))
  names = [make(**change).data_path.name for change in changes]
  parents = {make(**change).data_path.parent.name for change in changes}
  assert len(parents) == 4 and len(set(names)) == 1
  same = make(max_image_pixels=10**6, allow_missing=True)  # decide nothing that is stored
  assert same.data_path == make().data_path


def test_a_list_may_name_folders_with_commas(tmp_path):
  for name in ("a", "a,b", "c, d"):
    (tmp_path / name).mkdir()
  (tmp_path / "a,b" / "e,f").mkdir()
  joined = ",".join(f"{tmp_path}/{name}" for name in ("a,b", "c, d", "a", "nowhere", "a,b/*"))
  assert [name.removeprefix(f"{tmp_path}/") for name in paths.split(joined)] == [
    *("a,b", "c, d", "a", "nowhere", "a,b/*")
  ]


def test_names_reach_terminals_escaped():
  assert text.shown("usual – ä 日本.png") == "usual – ä 日本.png"
  assert text.shown("\x1b[2J\u202egnp.\n") == "\\x1b[2J\\u202egnp.\\n"
  assert text.shown(pathlib.Path(LATIN)) == "stra\\xdfe.png"
  assert text.printable("a\n\tb\r\x07") == "a\n\tb\\r\\x07"


def test_files_with_the_longest_names_are_written(tmp_path):
  for name in ("x" * 251 + ".png", "ä" * 125 + "x.png", "日" * 83 + "xx.png", LATIN):
    files.write_bytes_atomically(tmp_path / name, b"content")
    assert (tmp_path / name).read_bytes() == b"content"


def test_lines_and_errors_reach_the_terminal_escaped(capsys, monkeypatch):
  log.say("a\x1b[2J\nb")
  assert capsys.readouterr().out == "a\\x1b[2J\nb\n"

  def fail(overrides):
    raise ValueError("a\x1b[2J.png is damaged")

  flags.FLAGS.mark_as_parsed()
  with pytest.raises(SystemExit, match=r"^error: a\\x1b\[2J\.png is damaged$"):
    command._guarded(fail, [""])


def check_one_of_each(root, out, **changes):
  settings = spec(root, classes=one_of_each.CLASSES, **changes)
  target = settings | dict(train=("images",))
  return check_data.check(dict(dir=str(root / "prepared"), source=settings, target=target), out)


def test_check_data_and_prepare_name_the_same_files_in_one_of_each(tmp_path, capsys):
  pytest.importorskip("matplotlib")
  number = one_of_each.make(tmp_path)
  with pytest.raises(
    ValueError, match=rf"stone never occurs.* {3 * number + 6} of 76 pairs cannot"
  ):
    check_one_of_each(tmp_path, tmp_path / "out")
  printed = capsys.readouterr().out
  for sentence in (
    f"{number} pairs cannot be used",
    "7 files left out: 2 hidden",
    "images turned by their EXIF orientation, as viewers show them: 1",
    "of 0 to 65535 this is a small part, of which 3 of 256 grey levels are left",
    "never occurs: stone",
  ):
    assert sentence in printed
  with PIL.Image.open(tmp_path / "out" / "check_source_train_findings.png") as page:
    assert page.height > number * 90  # a row for each
  problems = (tmp_path / "out" / "check_problems.txt").read_text().splitlines()
  for problem in problems:
    check_sentence(problem)
  builder = catalog.find_builder(
    spec(tmp_path, classes=one_of_each.CLASSES), tmp_path / "prepared", Role.SOURCE
  )
  folder = base.prepare(builder, skip=True)
  left_out = (folder / "problems.txt").read_text().splitlines()
  assert len(set(left_out)) == number and set(left_out) <= set(problems)
  assert os.listdir(folder)


def test_check_data_asks_for_nothing_more_once_the_settings_fit(tmp_path, capsys):
  deep(tmp_path)
  for value_range, warned in (((), True), ((200, 1220), False), ("percentile", False)):
    settings = spec(tmp_path, value_range=value_range)
    data = dict(dir=str(tmp_path / "prepared"), source=settings, target=settings)
    findings = check_data.check(data, tmp_path / "out")
    assert ("warning" in capsys.readouterr().out) == warned
    assert findings["source train"].top == 65535
