"""Data sets stored as their files are: the same images, labels, counts and scores, and the choice between forms."""

import re
import shutil
import types

import cv2
import miniatures
import numpy as np
import PIL.Image
import pytest

from jax_uda.common import paths
from jax_uda.data.datasets import base, catalog, disk, shards, sources, stores
from jax_uda.data.pipeline import batching
from jax_uda.data.pipeline.rare_class import RareClassSampling
from jax_uda.data.roles import Role
from jax_uda.run import evaluation, prepare_data

pytestmark = pytest.mark.fast
FORMS = ("resized", "original")
ENLARGED, REDUCED = (17, 34), (6, 12)


def write_formats(root) -> None:
  """Images of all formats, among them some that are stored as a PNG of their pixels, and their labels."""
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (10, 20, 3), np.uint8)
  image = PIL.Image.fromarray(pixels)
  turned = PIL.Image.Exif()
  turned[0x0112] = 3
  (root / "a").mkdir(parents=True)
  image.save(root / "a/0.jpg")
  image.save(root / "a/1.jpg", exif=turned)
  image.save(root / "a/2.png")
  image.convert("P").save(root / "a/3.png")
  image.convert("L").save(root / "a/4.png")
  image.convert("RGBA").save(root / "a/5.png")
  image.save(root / "a/6.tif")
  cv2.imwrite(str(root / "a/7.png"), pixels.astype(np.uint16) * 253)  # rounded when it is read
  for number in range(8):
    label = rng.integers(0, 2, (10, 20)).astype(np.uint8)
    miniatures.write_grey(root / f"b/{number}.png", label)


def load(tmp_path, store, source, target):
  return catalog.load_domains(source, target, data_dir=tmp_path / "prepared", store=store)


def assert_same(one, two):
  assert len(one) == len(two)
  for left, right in zip(one, two, strict=True):
    assert left.keys() == right.keys()
    for name, array in left.items():
      assert array.dtype == right[name].dtype
      np.testing.assert_array_equal(array, right[name])


def confusion(examples, num_classes):
  """The counts of a network that predicts a class from the colour of the resized image."""

  def predict(variables, images, inference, size):
    rows = [cv2.resize(image[..., 0], size[::-1]) for image in images]
    return types.SimpleNamespace(label=np.stack(rows) % num_classes)

  learner = types.SimpleNamespace(predict=predict)
  return evaluation.confusion_of(learner, None, examples, num_classes, batch_size=2)


def cases():
  for size in (ENLARGED, REDUCED, ()):
    yield "folders", "folders", size
    yield "gta5", "dark_zurich", size


@pytest.mark.parametrize(("source", "target", "size"), cases())
def test_both_forms_give_the_same_batches_counts_and_scores(tmp_path, source, target, size):
  root = tmp_path / "raw"
  if source == "folders":
    write_formats(root)
    spec = dict(name="folders", path=str(root), train=("a", "b"), val=("a", "b"))
    specs = [spec | dict(classes=("x", "y"), size=size)] * 2
  else:
    for name in (source, target):
      getattr(miniatures, name)(root / name)
    # GTA5 has labels of another size than their images.
    label = miniatures.columns(miniatures.CITYSCAPES)
    miniatures.write_palette(root / "gta5/labels/00002.png", label.repeat(2, 0).repeat(2, 1))
    specs = [dict(name=name, path=str(root / name), size=size) for name in (source, target)]
    specs[1] |= dict(day_images=True)
  resized, original = (load(tmp_path, store, *specs) for store in FORMS)
  for part in ("source_train", "source_val", "target_train", "target_val"):
    assert_same(getattr(resized, part), getattr(original, part))
  if size:  # files are there as they are
    stored = b"".join(file.read_bytes() for file in tmp_path.rglob("*-original/*/*array_record*"))
    files = [file for file in root.glob("a/[02].*" if source == "folders" else "gta5/images/*")]
    assert files and all(file.read_bytes() in stored for file in files)
  counts = [domains.source_train.class_counts for domains in (resized, original)]
  np.testing.assert_array_equal(*counts)
  assert resized.class_frequency == original.class_frequency
  settings = batching.BatchSettings(
    batch_size=2, crop_size=(5, 5), seed=0, rare_class=RareClassSampling(min_pixels=1)
  )
  batches = [
    batching.training_batches(domains.source_train, domains.target_train, settings)
    for domains in (resized, original)
  ]
  for step in range(3):
    for domain in ("source", "target"):
      assert_same([batches[0][step][domain]], [batches[1][step][domain]])
  for part in ("source_val", "target_val"):
    assert confusion(getattr(resized, part), resized.label_space.num_classes).sum() > 0
    np.testing.assert_array_equal(
      *(confusion(getattr(d, part), d.label_space.num_classes) for d in (resized, original))
    )


def gta(tmp_path, size, role=Role.SOURCE, **more):
  if not (tmp_path / "gta5").exists():
    miniatures.gta5(tmp_path / "gta5", 4)
  spec = dict(name="gta5", path=str(tmp_path / "gta5"), size=size, **more)
  return catalog.find_builder(spec, tmp_path / "prepared", role)


@pytest.mark.parametrize(("size", "store"), ((ENLARGED, "original"), (REDUCED, "resized")))
def test_auto_takes_the_smaller_form_and_keeps_to_what_is_prepared(
  tmp_path, monkeypatch, size, store
):
  assert gta(tmp_path, size).settings.store == "resized"  # a small data set
  monkeypatch.setattr(stores, "SMALL", 0)
  builder = gta(tmp_path, size)
  sizes = {
    form: stores.estimate(gta(tmp_path, size, store=form), builder.find_pairs()) for form in FORMS
  }
  assert builder.settings.store == store == min(sizes, key=sizes.get)
  other = gta(tmp_path, size, store=next(form for form in FORMS if form != store))
  stores.partial_folder(other).mkdir(parents=True)
  assert gta(tmp_path, size).data_path == other.data_path  # an interrupted preparation is continued
  stores.partial_folder(other).rmdir()
  base.prepare(other)
  assert gta(tmp_path, size).data_path == other.data_path
  shutil.rmtree(tmp_path / "gta5")
  spec = dict(name="gta5", path=str(tmp_path / "gta5"), size=size)
  again = catalog.find_builder(spec, tmp_path / "prepared", Role.SOURCE)
  assert again.data_path == other.data_path and again.find_pairs() is None


def test_auto_keeps_to_what_was_prepared_before_the_files_were_moved(tmp_path, monkeypatch):
  monkeypatch.setattr(stores, "SMALL", 0)
  folder = base.prepare(gta(tmp_path, ENLARGED, store="resized"))  # the larger form
  (tmp_path / "gta5").rename(tmp_path / "moved")
  spec = dict(name="gta5", path=str(tmp_path / "moved"), size=ENLARGED)
  moved = catalog.find_builder(spec, tmp_path / "prepared", Role.SOURCE)
  assert moved.settings.store == "resized" and base.prepare(moved) == folder


def test_the_name_of_the_form_that_existed_is_as_before(tmp_path):
  resized, original = (gta(tmp_path, ENLARGED, store=store) for store in FORMS)
  name = resized.data_path.parent.name
  assert re.fullmatch(r"17x34-[0-9a-f]{12}", name)
  assert original.data_path.parent.name == f"{name}-original"


def test_images_that_keep_their_size_are_stored_as_before(tmp_path, monkeypatch):
  monkeypatch.setattr(stores, "SMALL", 0)
  assert gta(tmp_path, ()).settings.store == "resized"


def test_an_unknown_form_is_explained(tmp_path):
  with pytest.raises(ValueError, match=r"store = 'orignal' is unknown. Did you mean 'original'\?"):
    gta(tmp_path, ENLARGED, store="orignal")
  spec = dict(name="gta5", path=str(tmp_path / "gta5"))
  with pytest.raises(ValueError, match=r"^store = 'small' is unknown"):
    catalog.load_domains(spec, spec, data_dir=tmp_path, store="small")


@pytest.mark.parametrize("store", FORMS)
@pytest.mark.parametrize("number", (4, 60))
def test_the_estimate_is_what_is_written(tmp_path, number, store):
  miniatures.gta5(tmp_path / "gta5", number)
  builder = gta(tmp_path, ENLARGED, store=store)
  expected = stores.estimate(builder, builder.find_pairs())
  folder = base.prepare(builder)
  notes = sources.read_notes(folder)
  written = sum(note["num_bytes"] for shards in notes.values() for _, note in shards)
  assert abs(expected - written) <= (0 if number == 4 else 0.02 * written)


def test_a_file_that_cannot_be_read_does_not_spoil_the_estimate(tmp_path):
  builder = gta(tmp_path, ENLARGED)
  expected = stores.estimate(builder, builder.find_pairs())
  file = tmp_path / "gta5/images/00002.png"
  file.write_bytes(b"?" * file.stat().st_size)
  assert abs(stores.estimate(builder, builder.find_pairs()) - expected) < 0.05 * expected


@pytest.fixture
def little_space(monkeypatch):
  """Sets what is free on the disk, in bytes."""
  return lambda free: monkeypatch.setattr(paths, "free_bytes", lambda folder: free)


def test_a_disk_that_is_too_small_is_named_before_anything_is_written(tmp_path, little_space):
  builder = gta(tmp_path, ENLARGED)
  needed = stores.estimate(builder, builder.find_pairs())
  little_space(needed)
  disk.check_space([builder, builder])  # the same data set counts once
  little_space(needed - 1)
  message = (
    r"dir = '.*prepared': preparing needs about 0\.0 MB \(gta5 0\.0 MB\), but 0\.0 MB are free on this disk"
    r", 0\.0 MB too little\. Choose a folder on another disk, or store the files as they are, .*"
    r"--config\.data\.store=original"
  )
  with pytest.raises(ValueError, match=message):
    disk.check_space([builder])
  little_space(1)
  with pytest.raises(ValueError, match=r"Choose a folder on another disk\.$"):
    disk.check_space([gta(tmp_path, ENLARGED, store="original")])
  spec = dict(name="gta5", path=str(tmp_path / "gta5"), size=ENLARGED)
  with pytest.raises(ValueError, match="^dir = "):
    load(tmp_path, "resized", spec, spec)
  with pytest.raises(ValueError, match="^--data_dir = "):
    place = tmp_path / "prepared"
    prepare_data.prepare("gta5", str(tmp_path / "gta5"), size="17,34", data_dir=place, skip=False)
  assert not (tmp_path / "prepared").exists()


def test_what_is_written_already_is_not_counted(tmp_path, little_space):
  builder = gta(tmp_path, ENLARGED)
  base.prepare(builder)
  little_space(0)
  disk.check_space([builder])
  disk.check_space([builder], renew=True)  # nothing has changed
  miniatures.write_image(tmp_path / "gta5/images/00002.png", 99)
  disk.check_space([builder])
  with pytest.raises(ValueError, match="preparing needs"):
    disk.check_space([builder], renew=True)


def test_finished_shards_of_an_interrupted_preparation_are_not_counted(
  tmp_path, little_space, monkeypatch
):
  monkeypatch.setattr(shards, "SHARD_SIZE", 2)
  builder = gta(tmp_path, ENLARGED)
  whole = stores.estimate(builder, builder.find_pairs())
  file = tmp_path / "gta5/images/00003.png"
  content = file.read_bytes()
  file.write_bytes(b"?")
  with pytest.raises(ValueError, match="2 of 5 pairs are prepared"):
    base.prepare(builder)
  file.write_bytes(content)
  little_space(0.7 * whole)
  disk.check_space([gta(tmp_path, ENLARGED)])
  little_space(0.5 * whole)
  with pytest.raises(ValueError, match="preparing needs"):
    disk.check_space([gta(tmp_path, ENLARGED)])


def test_the_command_line_chooses_the_form(tmp_path, capsys):
  gta(tmp_path, ENLARGED)
  folder = prepare_data.prepare(
    "gta5:store=original",
    str(tmp_path / "gta5"),
    size="17,34",
    data_dir=tmp_path / "prepared",
    skip=False,
  )
  assert folder.parent.name.endswith("-original")
  assert "store='original'" in capsys.readouterr().out
  _, spec = prepare_data.make_spec("camvid:store=original,train=a+b", "x", None)
  assert spec["store"] == "original" and spec["train"] == ("a", "b")
