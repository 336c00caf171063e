"""The drill on disks that are full, read-only, slow or failing, and with two processes in one folder.

Each command ends as on a whole disk, or with exit code 1 and one sentence with the file, what it is for and
what to do. In both cases the same command gives the same bits once the disk is whole.
"""

import pathlib
import random
import re
import shutil

import damage
import drill_table
import faulty_disk
import numpy as np
import PIL.Image
import pytest
from array_record.python import array_record_module
from robustness.table import check_sentence
from tensorflow_datasets.proto import tf_example_pb2

from jax_uda.common import disk_errors

pytestmark = pytest.mark.faults

# What is run on a finished run, by name; `train` continues one whose last checkpoint is gone.
MODES = {
  "train": (),
  "eval": ("--mode=eval",),
  "predict": ("--mode=predict", "--images={images}"),
  "export_weights": ("--mode=export_weights",),
  "pseudo_label": ("--mode=pseudo_label",),
  "report": ("--mode=report",),
  "check_data": ("--mode=check_data",),
}
# KiB that are free at first. A run of the tiny recipe writes 7 MiB, an export 0.4, pseudo-labels 3 KiB.
FREE = {"eval": 2, "predict": 3, "export_weights": 200, "pseudo_label": 3, "report": 0}
FREE = {mode: (kib,) for mode, kib in FREE.items()} | {"check_data": (0,)}
FREE["train"] = (0, 24, *(random.Random(seed).randrange(7000) for seed in range(4)))
FAILING = {  # calls of the system, the first of them that fails
  "train": [("fsync,fdatasync", 9), ("rename", 12)],
  "predict": [("rename", 2)],
  "export_weights": [("fsync", 2)],
}
SLOW = ("fsync,fdatasync,rename", "delay_enter=60000")  # microseconds
NUMBERS = {
  **{f"a full disk, {mode}": len(FREE[mode]) for mode in FREE},
  **{f"a read-only disk, {mode}": 1 for mode in MODES},
  "a full disk, prepare": 3,
  "a read-only disk, prepare": 1,
  **{f"a failing disk, {mode}": len(FAILING[mode]) for mode in FAILING},
  "a slow disk, train": 1,
  "two runs in one folder": 1,
  "two preparations of one data set": 2,
}


@pytest.fixture(scope="module")
def counts():
  """How each kind of fault ended; the page gets the rows of those that were drilled completely."""
  counts = drill_table.Counts()
  yield counts
  counts.write("disks", NUMBERS)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """A folder with drawn data, images, and a finished run in which every mode was run."""
  folder = tmp_path_factory.mktemp("place")
  (folder / "images").mkdir()
  for number in range(3):
    noise = np.random.default_rng(number).integers(0, 256, (32, 48, 3), np.uint8)
    PIL.Image.fromarray(noise).save(folder / "images" / f"{number}.png")
  code, out = faulty_disk.run(faulty_disk.recipe(folder / "data", folder / "trained"))
  assert code == 0, out
  return folder


@pytest.fixture(scope="module")
def undisturbed(place):
  """What each mode writes on a whole disk; computed when it is asked for."""
  contents: dict[str, faulty_disk.Content] = {}

  def of(mode: str) -> faulty_disk.Content:
    if mode not in contents:
      run = place / mode / "run"  # pseudo-labels note the name of the run
      copy_run(place, mode, run)
      code, out = faulty_disk.run(arguments(place, mode, run))
      assert code == 0, out
      contents[mode] = faulty_disk.content_of(run)
    return contents[mode]

  return of


@pytest.fixture
def disk(tmp_path):
  with faulty_disk.mounted(tmp_path / "disk") as disk:
    yield disk


def arguments(place: pathlib.Path, mode: str, run: pathlib.Path) -> list[str]:
  more = [text.format(images=place / "images") for text in MODES[mode]]
  return faulty_disk.recipe(place / "data", run) + more


def copy_run(place: pathlib.Path, mode: str, run: pathlib.Path) -> None:
  """The run of `place` as it is before `mode`."""
  if mode != "train":
    shutil.copytree(place / "trained", run)


def end_of(code: int, out: str, folder: pathlib.Path) -> str:
  """How a command on the disk at `folder` ended; what must not be is said."""
  assert "Traceback" not in out, out
  if code == 0:
    return damage.SAME
  assert code == 1, out
  (error,) = (line for line in out.splitlines() if line.startswith("error: "))
  check_sentence(error)
  assert str(folder) in error, f"no file is named: {error}"
  advice = re.escape(disk_errors.AGAIN)
  assert re.search(f"[(,:] .*{advice}", error), f"not said what to do: {error}"
  is_known = (
    "checkpoint" in error or "prepared data set" in error or re.search(r" \([^)]+\): ", error)
  )
  assert is_known, f"not said what it is for: {error}"
  return damage.SENTENCE


def drill(disk, place, mode, undisturbed, harm, prefix=()) -> str:
  """Runs a mode on a harmed disk, and again on the whole one."""
  run = disk.folder / "run"
  copy_run(place, mode, run)
  harm()
  command = arguments(place, mode, run)
  end = end_of(*faulty_disk.run(command, prefix), disk.folder)
  disk.clear()
  if mode not in ("report", "check_data"):  # they compute nothing
    code, out = faulty_disk.run(command)
    assert code == 0, out
    assert faulty_disk.content_of(run) == undisturbed(mode)
  return end


def test_every_file_of_a_run_has_a_purpose(place):
  names = {str(path) for path in (place / "trained").iterdir() if path.is_file()}
  assert names and not {name for name in names if not disk_errors.purpose_of(name)}


@pytest.mark.parametrize(("mode", "kib"), [(mode, kib) for mode in FREE for kib in FREE[mode]])
def test_full(mode, kib, disk, place, undisturbed, counts):
  end = drill(disk, place, mode, undisturbed, lambda: disk.leave(kib))
  assert end == damage.SENTENCE or kib
  counts.add(f"a full disk, {mode}", end)


@pytest.mark.parametrize("mode", MODES)
def test_read_only(mode, disk, place, counts):
  run = disk.folder / "run"
  copy_run(place, mode, run)
  disk.protect()
  end = end_of(*faulty_disk.run(arguments(place, mode, run)), disk.folder)
  assert end == damage.SENTENCE
  disk.clear()
  counts.add(f"a read-only disk, {mode}", end)


@pytest.mark.parametrize(
  ("mode", "calls", "first"), [(mode, *fault) for mode in FAILING for fault in FAILING[mode]]
)
def test_failing(mode, calls, first, disk, place, undisturbed, counts):
  prefix = faulty_disk.injecting(calls, f"error=EIO:when={first}+")
  end = drill(disk, place, mode, undisturbed, lambda: None, prefix)
  counts.add(f"a failing disk, {mode}", end)


def test_slow(disk, place, undisturbed, counts):
  prefix = faulty_disk.injecting(*SLOW)
  end = drill(disk, place, "train", undisturbed, lambda: None, prefix)
  assert end == damage.SAME
  counts.add("a slow disk, train", end)


# --- prepared data ---


def records_of(data: pathlib.Path) -> list:
  """What the prepared data sets below a folder hold; nothing unfinished may lie beside."""
  contents = []
  for folder in sorted(path.parent for path in data.rglob("dataset_info.json")):
    assert sorted(path.name for path in folder.parent.iterdir()) == [folder.name]
    for path in sorted(folder.glob("*.array_record*")):
      reader = array_record_module.ArrayRecordReader(str(path))
      records = reader.read(range(reader.num_records()))
      # The order of the features of a record is another one each time.
      examples = [tf_example_pb2.Example.FromString(record).features.feature for record in records]
      contents.append((path.name, [sorted(map(str, each.items())) for each in examples]))
      reader.close()
    contents += [path.read_bytes() for path in sorted(folder.glob("class_counts*.npy"))]
  return contents


def prepare(data: pathlib.Path) -> list[str]:
  return [*faulty_disk.recipe(data, data / "unused"), "--mode=prepare"]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
  data = tmp_path_factory.mktemp("prepared") / "data"
  code, out = faulty_disk.run(prepare(data))
  assert code == 0, out
  return records_of(data)


@pytest.mark.parametrize("kib", (0, 8, 300, "read-only"))
def test_prepare(kib, disk, prepared, counts):
  data = disk.folder / "data"
  disk.protect() if kib == "read-only" else disk.leave(kib)
  end = end_of(*faulty_disk.run(prepare(data)), data)
  assert end == damage.SENTENCE
  disk.clear()
  code, out = faulty_disk.run(prepare(data))
  assert code == 0, out
  assert records_of(data) == prepared
  counts.add(f"a {'read-only' if kib == 'read-only' else 'full'} disk, prepare", end)


def together(*commands) -> list[tuple[int, str]]:
  """Runs commands at the same time; returns their exit codes and words."""
  processes = [faulty_disk.start(command, prefix) for command, prefix in commands]
  outs = [process.communicate(timeout=300)[0] for process in processes]
  return [(process.returncode, out) for process, out in zip(processes, outs, strict=True)]


@pytest.mark.parametrize("is_slow", (False, True))
def test_two_preparations(is_slow, tmp_path, prepared, counts):
  data = tmp_path / "data"
  prefix = faulty_disk.injecting("rename", "delay_enter=500000") if is_slow else ()
  ends = together(*[(prepare(data), prefix)] * 2)
  for code, out in ends:
    assert code == 0, out
    assert "rror" not in out and "free some" not in out.lower(), out
  if is_slow:
    assert re.search(r"a data set is being drawn in \S+ by process \d+ on .*; waiting", str(ends))
  assert records_of(data) == prepared
  counts.add("two preparations of one data set", damage.SAME)


def test_two_runs(tmp_path, place, undisturbed, counts):
  run = tmp_path / "run"
  ends = together(*[(arguments(place, "train", run), ())] * 2)
  (refused,) = (out for code, out in ends if code == 1)
  (error,) = (line for line in refused.splitlines() if line.startswith("error: "))
  check_sentence(error)
  assert re.fullmatch(
    rf"error: a run is under way in {run}: process \d+ on .* since .*; wait for its end, stop it, "
    "or choose another --workdir",
    error,
  )
  assert sorted(code for code, _ in ends) == [0, 1]
  assert faulty_disk.content_of(run) == undisturbed("train")
  counts.add("two runs in one folder", damage.SENTENCE)
