import pathlib
import shutil

import buckets
import pytest

from jax_uda.common import paths
from jax_uda.data.datasets import base, catalog, image_files
from jax_uda.data.datasets import bucket as store
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role

pytestmark = pytest.mark.fast

SPEC = dict(name="camvid", train=("train",), val=("val",), size=(6, 8))


class Host:
  """A machine with a cache and a copy of the photographs, beside other ones."""

  def __init__(self, folder, photos, monkeypatch):
    self._home = folder / "home"
    self._photos = photos
    self._monkeypatch = monkeypatch

  def builder(self):
    self._monkeypatch.setenv("HOME", str(self._home))
    data_dir = paths.as_path("gs://prepared/sets", "data_dir")
    return catalog.find_builder(dict(SPEC, path=str(self._photos)), data_dir, Role.SOURCE)

  def prepare(self, **kwargs):
    return base.prepare(self.builder(), **kwargs)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
  """The folder behind `gs://prepared`."""
  buckets.install(tmp_path / "buckets", monkeypatch)
  return tmp_path / "buckets/prepared"


@pytest.fixture
def hosts(bucket, small_camvid, tmp_path, monkeypatch):
  return [Host(tmp_path / name, small_camvid, monkeypatch) for name in ("one", "two")]


@pytest.fixture
def images_read(monkeypatch):
  """The images that were read to prepare a data set."""
  names = []
  read = image_files.read_image
  monkeypatch.setattr(
    image_files, "read_image", lambda file, *more: names.append(file.name) or read(file, *more)
  )
  return names


@pytest.fixture
def stop_copying(monkeypatch):
  """`stop_copying(3)`: Ctrl-C at the third file that is opened; None: not at all."""
  left = [None]
  open_there = buckets.Buckets.open

  def count_and_open(self, path, mode="rb", **kwargs):
    if left[0] is not None and store.MARKER not in str(path):
      left[0] -= 1
      if left[0] < 0:
        raise KeyboardInterrupt
    return open_there(self, path, mode, **kwargs)

  monkeypatch.setattr(buckets.Buckets, "open", count_and_open)
  return lambda number: left.__setitem__(0, number)


def contents(folder):
  fields = ("image", "label")
  return [
    {name: array.tolist() for name, array in example.items()}
    for split in ("train", "val")
    for example in Examples(folder, split, fields=fields)
  ]


def names(folder):
  return sorted(file.name for file in folder.iterdir())


def test_a_local_folder_is_no_store(tmp_path):
  assert store.local_folder(tmp_path) == tmp_path
  spec = dict(name="streets", domain="day")
  assert catalog.find_builder(spec, tmp_path, "data.source").stored is None


def test_one_host_prepares_and_the_other_copies(hosts, images_read, bucket):
  one = hosts[0].prepare()
  assert "one/home/.cache/jax_uda/gs/prepared/sets/camvid" in str(one)
  assert len(images_read) == 6
  two = hosts[1].prepare()
  assert len(images_read) == 6 and one != two
  assert contents(one) == contents(two) and len(contents(two)) == 6
  assert names(one) == names(two) and store.MARKER in names(two)
  for folder in (one, two):
    assert names(folder.parent) == [folder.name]  # nothing half-done is left


def test_a_disk_too_small_for_the_copy_is_named_first(hosts, monkeypatch):
  one = hosts[0].prepare()
  with monkeypatch.context() as patch:
    patch.setattr(store.paths, "free_bytes", lambda folder: 1000)
    with pytest.raises(ValueError, match=r"needs 0\.0 GB more below .*, where 0\.0 GB are free"):
      hosts[1].prepare()
  assert contents(hosts[1].prepare()) == contents(one)


def test_what_is_there_is_not_copied_again(hosts, stop_copying):
  folders = [host.prepare() for host in hosts]
  times = [[file.stat().st_mtime_ns for file in folder.iterdir()] for folder in folders]
  stop_copying(0)
  assert [host.prepare() for host in hosts] == folders
  assert times == [[file.stat().st_mtime_ns for file in folder.iterdir()] for folder in folders]


@pytest.mark.parametrize("stop_at", (0, 1, 4))
def test_an_interrupted_copy_to_the_bucket_is_not_used_and_continues(
  hosts, stop_copying, stop_at, images_read, bucket
):
  stop_copying(stop_at)
  with pytest.raises(KeyboardInterrupt):
    hosts[0].prepare()
  assert len(images_read) == 6
  assert not hosts[1].builder().stored.joinpath(store.MARKER).exists()
  copied = {file: file.stat().st_mtime_ns for file in bucket.rglob("*") if file.is_file()}
  assert len(copied) == stop_at
  stop_copying(None)
  one = hosts[0].prepare()
  assert len(images_read) == 6  # prepared already
  assert all(file.stat().st_mtime_ns == time for file, time in copied.items())
  assert contents(hosts[1].prepare()) == contents(one) and len(images_read) == 6


@pytest.mark.parametrize("stop_at", (0, 1, 4))
def test_an_interrupted_copy_from_the_bucket_is_not_used_and_continues(
  hosts, stop_copying, stop_at
):
  one = hosts[0].prepare()
  stop_copying(stop_at)
  with pytest.raises(KeyboardInterrupt):
    hosts[1].prepare()
  folder = pathlib.Path(hosts[1].builder().data_path)
  assert not folder.exists()
  stop_copying(len(names(one)) - 1 - stop_at)  # the rest, without the marker
  assert contents(hosts[1].prepare()) == contents(one)
  assert names(folder.parent) == [folder.name]


def test_a_file_cut_off_in_the_bucket_is_found(hosts, bucket):
  hosts[0].prepare()
  record = next(file for file in bucket.rglob("*array_record*") if "train" in file.name)
  record.write_bytes(record.read_bytes()[:-7])
  with pytest.raises(OSError, match=f"{record.name} has .* bytes instead of"):
    hosts[1].prepare()
  assert not pathlib.Path(hosts[1].builder().data_path).exists()


def test_a_renewed_data_set_reaches_the_other_hosts(hosts, small_camvid, images_read):
  before = [contents(host.prepare()) for host in hosts]
  shutil.copy(small_camvid / "train/0006R0_1.png", small_camvid / "train/0001TP_1.png")
  with pytest.raises(ValueError, match="1 have changed"):
    hosts[1].prepare()
  images_read.clear()
  one = contents(hosts[0].prepare(renew=True))
  assert images_read and one != before[0]
  images_read.clear()
  assert contents(hosts[1].prepare()) == one
  assert contents(hosts[0].prepare()) == one and not images_read


def test_a_host_without_the_photographs_copies_them_prepared(hosts, small_camvid):
  one = contents(hosts[0].prepare())
  shutil.rmtree(small_camvid)
  assert hosts[1].builder().is_complete
  assert contents(hosts[1].prepare()) == one


@pytest.mark.parametrize(
  "text, message",
  (
    ("{", "is damaged"),
    ('{"version": "a", "files": {"../../b": 3}}', "names files in other folders"),
    ('{"version": "..", "files": {"b": 3}}', "names files in other folders"),
    ('{"version": "", "files": {"b": 3}}', "names files in other folders"),
  ),
)
def test_a_strange_marker_is_refused(tmp_path, text, message):
  (tmp_path / store.MARKER).write_text(text)
  with pytest.raises(ValueError, match=f"{store.MARKER} {message}"):
    store.read_marker(tmp_path)
