"""Damages of the small files of runs and of prepared data: each is named, none is a wrong number."""

import functools
import json
import os
import pathlib
import shutil
import types

import cv2
import numpy as np
import pytest
from robustness.table import Case, check, check_sentence, parametrize

from jax_uda.common import files, state_files
from jax_uda.data import label_spaces
from jax_uda.data.datasets import base, catalog, seal
from jax_uda.data.pipeline import stored_labels
from jax_uda.data.pipeline.examples import Examples
from jax_uda.data.roles import Role
from jax_uda.run import classes_file, prepare_data, record, same_inputs
from jax_uda.run import config as config_lib
from jax_uda.run.report import metric_lines, prototypes, runs

pytestmark = pytest.mark.fast

CONFIG = {"seed": 3, "num_steps": 40, "data": {"source": {"path": "ä"}}, "rate": 0.001}


def _flipped(data: bytes, bit: int) -> bytes:
  changed = bytearray(data)
  changed[bit // 8] ^= 1 << bit % 8
  return bytes(changed)


DAMAGES = {
  "empty": lambda data: b"",
  "half": lambda data: data[: len(data) // 2],
  "cut by one byte": lambda data: data.rstrip()[:-1],
  "zeros": lambda data: bytes(len(data)),
  "a list": lambda data: b"[1, 2]",
  "nested deeply": lambda data: b"[" * 100_000,
  "no text": lambda data: b"\xff\xfe" + data,
}


# --- files of a run ---


def _write_classes(folder):
  domains = types.SimpleNamespace(
    label_space=label_spaces.CAMVID11, target_val=[], image_bound=None, reading=None
  )
  classes_file.write(folder, domains)


def _write_config(folder):
  state_files.write_json(folder / "config.json", CONFIG)


def _write_results(folder):
  scores = {"miou": 0.25, "iou": {"car": 0.5}}
  state_files.write_json(folder / "results.json", {"step": 8, "target": {"student": scores}})


def _write_weights(folder):
  state_files.write_json(folder / "init_weights.json", {"path": "a.pth", "sha256": "ab" * 32})


def _write_data(folder):
  note = {"files": 3, "names": "a", "contents": "b", "path": "/data", "class_stats": ""}
  state_files.write_json(folder / "data.json", {"source": note})


def _write_summary(folder):
  state_files.write_json(folder / "thresholds.json", {"images": 3, "thresholds": {"car": 0.9}})


# Name of the file: how it is written, how it is read, and a part of what the error says to do.
KINDS = {
  "config.json": (_write_config, record.read_config, "put a copy of it there, or remove it"),
  "results.json": (_write_results, runs.read_results, "remove it, and --mode=eval"),
  "classes.json": (_write_classes, classes_file.read, "remove it, and --mode=eval"),
  "init_weights.json": (_write_weights, same_inputs.noted_places, "remove it if"),
  "data.json": (_write_data, same_inputs.noted_places, "remove it, and the next start"),
  "thresholds.json": (_write_summary, stored_labels.read_summary, "remove it, and run the stage"),
}


def _read_damaged(folder, name, damage):
  write, read, _ = KINDS[name]
  write(folder)
  path = folder / name
  path.write_bytes(damage(path.read_bytes()))
  return read(folder)


@parametrize(
  *(
    Case(
      f"{name}: {how}",
      functools.partial(_read_damaged, name=name, damage=damage),
      sentence=rf"{name} is damaged \(.*\): it .*{KINDS[name][2]}",
    )
    for name in KINDS
    for how, damage in DAMAGES.items()
  )
)
def test_a_damaged_file_of_a_run_says_what_it_is_for_and_what_to_do(case, tmp_path):
  check(case, tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_no_flipped_bit_of_a_file_of_a_run_changes_what_is_read(name, tmp_path):
  write, read, _ = KINDS[name]
  write(tmp_path)
  path = tmp_path / name
  whole, expected, noticed = path.read_bytes(), str(read(tmp_path)), 0
  for bit in range(0, 8 * len(whole), max(8 * len(whole) // 120, 1) | 1):
    path.write_bytes(_flipped(whole, bit))
    try:
      assert str(read(tmp_path)) == expected, f"bit {bit}: {path.read_bytes()}"
    except state_files.DamagedFileError as error:
      check_sentence(str(error))
      noticed += 1
  assert noticed > 100


def test_files_of_earlier_versions_have_no_checksum_and_are_read(tmp_path):
  (tmp_path / "config.json").write_text(json.dumps(CONFIG))
  assert record.read_config(tmp_path) == CONFIG


def test_a_file_edited_by_hand_is_read_without_its_checksum(tmp_path):
  _write_config(tmp_path)
  text = (tmp_path / "config.json").read_text().replace('"seed": 3', '"seed": 4')
  (tmp_path / "config.json").write_text(text)
  with pytest.raises(ValueError, match='edited it, take the line "checksum" out'):
    record.read_config(tmp_path)
  content = json.loads(text)
  del content["checksum"]
  (tmp_path / "config.json").write_text(json.dumps(content))
  assert record.read_config(tmp_path)["seed"] == 4


def test_on_a_full_disk_the_old_file_stays(tmp_path, monkeypatch):
  _write_results(tmp_path)
  before = (tmp_path / "results.json").read_bytes()

  def full(descriptor):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(files.os, "fsync", full)
  with pytest.raises(OSError, match="No space left"):
    state_files.write_json(tmp_path / "results.json", {"step": 9})
  assert (tmp_path / "results.json").read_bytes() == before
  assert os.listdir(tmp_path) == ["results.json"]


@pytest.mark.parametrize("how", ("empty", "half", "zeros", "no text"))
def test_damaged_arrays_of_a_report_move_aside_and_the_run_goes_on(how, tmp_path, capsys):
  path = tmp_path / "prototypes.npz"
  state_files.write_arrays(path, {"term@1": np.eye(20)})
  assert prototypes.read(tmp_path)["term"][1].shape == (20, 20)
  path.write_bytes(DAMAGES[how](path.read_bytes()))
  assert prototypes.read(tmp_path) == {} == prototypes.read(tmp_path)
  assert "is prototypes.npz.damaged now" in capsys.readouterr().out


def test_no_flipped_bit_changes_an_array_of_a_report(tmp_path):
  path = tmp_path / "a.npz"
  numbers = np.random.default_rng(0).normal(size=(4, 4))
  state_files.write_arrays(path, {"numbers": numbers})
  whole = path.read_bytes()
  for bit in range(0, 8 * len(whole), 13):
    path.write_bytes(_flipped(whole, bit))
    arrays = state_files.read_arrays(path, "it is lost")
    if "numbers" in arrays:
      np.testing.assert_array_equal(arrays["numbers"], numbers)


# --- metrics ---


def _metrics(folder, number=5):
  rows = [{"step": step, "loss": step / 3, "miou/student": None} for step in range(1, number + 1)]
  (folder / "metrics.jsonl").write_text("".join(map(metric_lines.to_line, rows)))
  return rows


def test_a_broken_line_moves_aside_and_the_others_stay(tmp_path, capsys):
  rows = _metrics(tmp_path)
  path = tmp_path / "metrics.jsonl"
  lines = path.read_bytes().split(b"\n")
  broken = [b"\xff\x00", b'{"step": "x"}', b"[]", lines[2][:-9] + b"1" + lines[2][-8:]]
  path.write_bytes(b"\n".join([*lines[:2], *broken, *lines[3:-1], b'{"step": 6, "lo']))
  metric_lines.keep_until(tmp_path, 4)
  assert metric_lines.read(tmp_path) == ([rows[0], rows[1], rows[3]], [])
  (aside,) = tmp_path.glob("metrics.damaged-*.jsonl")
  assert aside.read_bytes().split(b"\n") == [*broken, b""]
  assert "4 of its lines cannot be read" in capsys.readouterr().out


def test_no_flipped_bit_changes_a_metric(tmp_path):
  rows = _metrics(tmp_path, 2)
  path = tmp_path / "metrics.jsonl"
  whole = path.read_bytes()
  for bit in range(0, 8 * len(whole), 3):
    path.write_bytes(_flipped(whole, bit))
    kept = metric_lines.read(tmp_path).rows
    assert all(row in rows for row in kept) and len(kept) < len(rows) or kept == rows


# --- prepared data ---


def _fields(folder: pathlib.Path) -> pathlib.Path:
  rng = np.random.default_rng(0)
  for i in range(3):
    label = np.tile(np.arange(12, dtype=np.uint8) // 4, (8, 1))
    image = rng.integers(0, 256, (8, 12, 3), np.uint8)
    for name, array in (("images", image), ("labels", label)):
      (folder / name).mkdir(parents=True, exist_ok=True)
      cv2.imwrite(str(folder / name / f"{i}.png"), array)
  return folder


def _spec(path) -> dict:
  parts = ("images", "labels")
  return dict(name="folders", path=str(path), train=parts, val=parts, classes=("a", "b", "c"))


def _builder(folder: pathlib.Path, path: pathlib.Path | None = None) -> base.Builder:
  return catalog.find_builder(_spec(path or folder / "raw"), folder / "prepared", Role.SOURCE)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> pathlib.Path:
  folder = tmp_path_factory.mktemp("prepared")
  _fields(folder / "raw")
  base.prepare(_builder(folder))
  return folder


def _contents(folder: pathlib.Path, builder: base.Builder, **how) -> list:
  place = base.prepare(builder, **how)
  examples = Examples(place, "train", fields=("image", "label"))
  images = [(example["image"].tolist(), example["label"].tolist()) for example in examples]
  return [images, catalog.class_counts(place, "train", 3).tolist(), examples.names_digest]


def _copy(prepared: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
  shutil.copytree(prepared, folder, dirs_exist_ok=True, copy_function=shutil.copy2)
  return pathlib.Path(_builder(folder, prepared / "raw").data_path)


SMALL = (
  "checksums.json", "class_counts_train.npy", "dataset_info.json", "features.json",
  "names_train.json", "notes.json",
)  # fmt: skip
RECORDS = "folders-train.array_record-00000-of-00001"


@pytest.mark.parametrize("how", ("empty", "half", "zeros", "gone"))
@pytest.mark.parametrize("name", (*SMALL, RECORDS))
def test_damaged_prepared_data_are_named_and_repaired(prepared, tmp_path, name, how, capsys):
  place = _copy(prepared, tmp_path)
  builder = _builder(tmp_path, prepared / "raw")
  expected = _contents(tmp_path, builder)
  data = (place / name).read_bytes()
  (place / name).unlink()
  if how != "gone":
    (place / name).write_bytes(DAMAGES[how](data))
  builder = _builder(tmp_path, prepared / "raw")  # as a new process makes it
  if (name, how) == ("checksums.json", "gone"):  # as in data sets of earlier versions
    assert _contents(tmp_path, builder) == expected and (place / name).read_bytes() == data
    return
  with pytest.raises(ValueError, match="is damaged .*--repair") as caught:
    _contents(tmp_path, builder)
  check_sentence(str(caught.value))
  assert (
    str(place) in str(caught.value)
    and name in str(caught.value)
    or (name, how) == (RECORDS, "zeros")
  )
  assert _contents(tmp_path, builder, repair=True) == expected == _contents(tmp_path, builder)


@pytest.mark.parametrize("name", (*SMALL, RECORDS))
def test_no_flipped_bit_changes_what_is_read_of_prepared_data(prepared, tmp_path, name):
  place = _copy(prepared, tmp_path)
  builder = _builder(tmp_path, prepared / "raw")
  expected, whole, noticed = _contents(tmp_path, builder), (place / name).read_bytes(), 0
  bits = np.random.default_rng(0).choice(8 * min(len(whole), 4096), 30, replace=False)
  for bit in bits:
    (place / name).write_bytes(_flipped(whole, int(bit)))
    try:
      builder = _builder(tmp_path, prepared / "raw")  # as a new process makes it
      assert _contents(tmp_path, builder) == expected, f"bit {bit}"
    except seal.DamagedDataError as error:
      check_sentence(str(error))
      noticed += 1
  assert noticed == len(bits) or name in ("checksums.json", RECORDS) and noticed


@pytest.mark.parametrize(
  "error",
  (OSError(28, "No space left on device"), RuntimeError("write() failed: No space left on device")),
)
def test_a_renewal_that_fails_is_said_though_the_old_data_are_there(prepared, tmp_path, error):
  _copy(prepared, tmp_path)
  builder = _builder(tmp_path, prepared / "raw")
  builder.find_changes = lambda: types.SimpleNamespace(number=1, example="a.png")

  def write(**how):
    raise error

  builder.write = write
  with pytest.raises(OSError, match="cannot be written: No space left on device; free some space"):
    base.prepare(builder, renew=True)


def test_counts_that_cannot_be_kept_are_counted_each_time(prepared, tmp_path, monkeypatch):
  place = _copy(prepared, tmp_path)
  expected = catalog.class_counts(place, "train", 3)
  (place / "class_counts_train.npy").unlink()

  def read_only(path):
    raise OSError(30, "Read-only file system", str(path))

  monkeypatch.setattr(catalog.files, "replacing", read_only)
  np.testing.assert_array_equal(catalog.class_counts(place, "train", 3), expected)
  assert not (place / "class_counts_train.npy").exists()


def test_without_their_sources_damaged_data_stay_and_say_so(prepared, tmp_path):
  place = _copy(prepared, tmp_path)
  _builder(tmp_path, prepared / "raw")
  (place / "notes.json").write_bytes(b"")
  moved = tmp_path / "elsewhere"
  shutil.copytree(prepared / "raw", moved)
  builder = _builder(tmp_path, prepared / "raw")
  builder.settings.__dict__.pop("pairs", None)
  builder.settings.find = lambda: (_ for _ in ()).throw(ValueError("there is no folder"))
  with pytest.raises(ValueError, match="there is no folder"):
    base.prepare(builder, repair=True)
  assert place.exists()


def test_what_an_interrupted_renewal_has_left_is_removed(prepared, tmp_path):
  place = _copy(prepared, tmp_path)
  (place.with_name(f"{place.name}.partial") / "x").mkdir(parents=True)
  assert base.prepare(_builder(tmp_path, prepared / "raw"), renew=True) == place
  assert os.listdir(place.parent) == [place.name]


# --- a path is not an identity ---


def test_the_same_data_in_another_folder_are_not_prepared_again(prepared, tmp_path, capsys):
  place = _copy(prepared, tmp_path)
  other = tmp_path / "other" / "place"
  shutil.copytree(prepared / "raw", other, copy_function=shutil.copy)  # with other times
  before = seal.check, sorted(tmp_path.rglob("dataset_info.json"))
  assert base.prepare(_builder(tmp_path, other)) == place
  assert "were prepared before, in another place" in capsys.readouterr().out
  assert sorted(tmp_path.rglob("dataset_info.json")) == before[1]


@pytest.mark.parametrize("change", ("content", "name", "settings"))
def test_other_data_in_another_folder_are_prepared(prepared, tmp_path, change):
  place = _copy(prepared, tmp_path)
  other = tmp_path / "other"
  shutil.copytree(prepared / "raw", other)
  spec = _spec(other)
  if change == "content":
    data = bytearray((other / "images/1.png").read_bytes())
    cv2.imwrite(str(other / "images/1.png"), np.zeros((8, 12, 3), np.uint8))
    short = (other / "images/1.png").read_bytes()
    (other / "images/1.png").write_bytes(short + bytes(len(data) - len(short)))  # the same length
  elif change == "name":
    for name in ("images", "labels"):
      (other / name / "1.png").rename(other / name / "7.png")
  else:
    spec["classes"] = ("x", "y", "z")
  builder = catalog.find_builder(spec, tmp_path / "prepared", Role.SOURCE)
  assert base.prepare(builder) == builder.data_path != place


def _run_config(path: pathlib.Path, prepared: pathlib.Path) -> config_lib.ConfigDict:
  config = config_lib.default()
  config.data.update(dir=str(prepared), source=_spec(path), target=_spec(path))
  return config


def test_a_run_goes_on_with_the_same_data_elsewhere_and_not_with_others(prepared, tmp_path, capsys):
  place = _copy(prepared, tmp_path)
  config = _run_config(prepared / "raw", tmp_path / "prepared")
  domains = catalog.load_domains(config.data.source, config.data.target, data_dir=config.data.dir)
  record.write(config, tmp_path, {"w": np.zeros(1)}, domains)
  assert {"data.json", "versions.json", "parameters.txt"} <= {
    *os.listdir(tmp_path)
  } and place.exists()

  other = tmp_path / "other"
  shutil.copytree(prepared / "raw", other, copy_function=shutil.copy)
  moved = _run_config(other, tmp_path / "prepared")
  record.check_config(moved, tmp_path)
  load = lambda: catalog.load_domains(moved.data.source, moved.data.target, data_dir=moved.data.dir)
  same_inputs.check(moved.data, load().identities, tmp_path)
  assert "are those that lay in" in capsys.readouterr().out

  cv2.imwrite(str(other / "images/0.png"), np.zeros((8, 12, 3), np.uint8))
  with pytest.raises(ValueError, match="holds a run with other data: config.data.source.path was"):
    same_inputs.check(moved.data, load().identities, tmp_path)
  moved.seed = 5
  with pytest.raises(ValueError, match="another config: config.seed: 0 there, 5 here"):
    record.check_config(moved, tmp_path)


def test_a_run_goes_on_with_a_copy_of_its_weights_and_not_with_others(tmp_path):
  (tmp_path / "one.pth").write_bytes(b"weights")
  (tmp_path / "copy.pth").write_bytes(b"weights")
  (tmp_path / "other.pth").write_bytes(b"WEIGHTS")
  digest = same_inputs._hash(tmp_path / "one.pth")
  note = {"path": str(tmp_path / "one.pth"), "sha256": digest}
  state_files.write_json(tmp_path / "init_weights.json", note)
  same_inputs.check_weights(str(tmp_path / "copy.pth"), tmp_path)
  (tmp_path / "one.pth").unlink()
  same_inputs.check_weights(str(tmp_path / "one.pth"), tmp_path)
  with pytest.raises(ValueError, match="config.init_weights = .*is another file than"):
    same_inputs.check_weights(str(tmp_path / "other.pth"), tmp_path)
  with pytest.raises(ValueError, match="config.init_weights = .*cannot be read .*any copy"):
    same_inputs.check_weights(str(tmp_path / "nowhere.pth"), tmp_path)


def test_all_data_of_a_recipe_are_repaired(prepared, tmp_path, capsys):
  place = _copy(prepared, tmp_path)
  config = _run_config(prepared / "raw", tmp_path / "prepared")
  (place / "notes.json").write_bytes(b"")
  prepare_data.repair_recipe(config)
  assert "notes.json is damaged" in capsys.readouterr().out
  seal.check(place)
