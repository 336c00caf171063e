"""Errors of disks name the file, what it is for and what to do; nothing half-written stays."""

import errno
import os
import pathlib
import threading

import numpy as np
import pytest
from absl import flags
from robustness.table import check_sentence

from jax_uda.cli import command
from jax_uda.common import disk_errors, files, lock, state_files
from jax_uda.data.pipeline import stored_labels
from jax_uda.models.weights import safetensors_file
from jax_uda.run.report import event_files

pytestmark = pytest.mark.fast

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as the system raises it: without a name


@pytest.mark.parametrize("code", disk_errors.ADVICE)
def test_the_sentence_has_the_file_its_purpose_and_the_next_step(code):
  sentence = command.sentence_of(OSError(code, os.strerror(code), "/runs/a/results.json"))
  check_sentence(sentence)
  expected = f"/runs/a/results.json (the scores of the run): {os.strerror(code)}; "
  assert sentence == expected + disk_errors.ADVICE[code]
  assert disk_errors.AGAIN in sentence


def test_files_of_others_have_no_purpose_and_other_errors_stay_as_they_are():
  assert command.sentence_of(PermissionError(13, "Permission denied", "/a/b.jpg")).startswith(
    "/a/b.jpg: Permission denied; change the rights there"
  )
  assert (
    command.sentence_of(FileNotFoundError(2, "No such file", "a")) == "[Errno 2] No such file: 'a'"
  )


def test_purposes_know_folders():
  assert (
    disk_errors.purpose_of("/a/predictions/student/b/c.png") == "the predicted classes of an image"
  )
  assert disk_errors.purpose_of("/a/panels.png") == "a picture of the report"
  assert disk_errors.purpose_of("/a/b.txt") == ""


@pytest.mark.parametrize(
  ("error", "code"),
  [
    (FULL, errno.ENOSPC),
    (RuntimeError("write() failed: No space left on device; writing a.tmp"), errno.ENOSPC),
    (RuntimeError("Read-only file system [os_error_code='30']"), errno.EROFS),
    (ValueError("no such name"), None),
  ],
)
def test_errors_that_libraries_put_into_words_are_known(error, code):
  assert disk_errors.code_of(error) == code


@pytest.mark.parametrize("shown", (False, True))
def test_what_callbacks_of_a_failed_write_raise_is_shown_with_a_flag_alone(
  shown, capsys, monkeypatch
):
  flags.FLAGS.mark_as_parsed()
  flags.FLAGS.traceback = shown
  monkeypatch.setattr(command.sys, "unraisablehook", command._drop)

  class Storage:
    def __del__(self):
      raise RuntimeError("Event loop is closed")

  try:
    Storage()
  finally:
    flags.FLAGS.traceback = False
  assert ("Event loop is closed" in capsys.readouterr().err) == shown


@pytest.mark.parametrize("error", (FULL, OSError("149 requested and 0 written")))
def test_what_is_written_whole_or_not_at_all_names_the_file(error, tmp_path):
  path = tmp_path / "a.npy"
  path.write_text("before")
  with pytest.raises(OSError) as caught, files.replacing(path):
    raise error
  assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
  assert path.read_text() == "before" and os.listdir(tmp_path) == ["a.npy"]


def test_a_temporary_file_is_not_named(tmp_path, monkeypatch):
  def fail(source, target):
    raise OSError(errno.EIO, "Input/output error", str(source))

  monkeypatch.setattr(files.os, "replace", fail)
  with pytest.raises(OSError) as caught:
    files.write_atomically(tmp_path / "a.json", "{}")
  assert caught.value.filename == str(tmp_path / "a.json")


def test_an_error_about_another_file_keeps_its_name(tmp_path):
  other = tmp_path / "other"
  other.touch()
  with pytest.raises(PermissionError) as caught, files.replacing(tmp_path / "a"):
    raise PermissionError(errno.EACCES, "Permission denied", str(other))
  assert caught.value.filename == str(other)


def test_a_lock_that_cannot_be_written_is_not_left_behind(tmp_path, monkeypatch):
  def full(*arguments):
    raise FULL

  monkeypatch.setattr(lock.json, "dumps", full)
  path = tmp_path / "run.lock"
  with pytest.raises(OSError, match=r"No space left on device: .*run\.lock"):
    lock.FileLease(path).take(lock.this_process())
  assert not path.exists()  # a lock without a name would keep everybody out for two minutes


def test_exported_weights_are_whole_or_as_they_were(tmp_path, monkeypatch):
  path = tmp_path / "student.safetensors"
  safetensors_file.write(path, {"a": np.zeros(3, "<f4")}, {})
  before = path.read_bytes()

  def full(descriptor):
    raise FULL

  monkeypatch.setattr(files.os, "fsync", full)
  with pytest.raises(OSError, match=r"student\.safetensors"):
    safetensors_file.write(path, {"a": np.ones(3, "<f4")}, {})
  assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_no_flipped_bit_of_a_pseudo_label_map_changes_a_label(tmp_path):
  from jax_uda.data.datasets import image_files

  label = np.random.default_rng(0).integers(0, 5, (8, 12), np.uint8)
  whole, noticed = image_files.encode_png(label), 0
  path = tmp_path / "000000.png"
  for bit in range(0, 8 * len(whole), 5):
    changed = bytearray(whole)
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(changed)
    try:
      np.testing.assert_array_equal(stored_labels._read_label(path), label)
    except state_files.DamagedFileError as error:
      check_sentence(str(error))
      assert "remove it, and run the stage again" in str(error)
      noticed += 1
  assert noticed > 100


def test_events_for_tensorboard_are_given_up_where_they_cannot_be_written(tmp_path, capsys):
  """Else the thread that writes them ends, and the run waits for it forever."""
  tensorboard = pytest.importorskip("tensorboardX")
  writer = tensorboard.SummaryWriter(event_files.register(tmp_path / "tensorboard"), flush_secs=0)
  (path,) = (tmp_path / "tensorboard").iterdir()
  size = path.stat().st_size
  events = writer.file_writer.event_writer._ev_writer._py_recordio_writer._writer
  events._file.close()
  events._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115

  def write():
    for step in range(100):
      writer.add_scalar("loss", 1.0, step)
    writer.close()

  thread = threading.Thread(target=write, daemon=True)
  thread.start()
  thread.join(20)
  assert not thread.is_alive()
  assert path.stat().st_size == size
  said = capsys.readouterr()
  assert said.out.count("no more events for TensorBoard") == 1 and not said.err


def test_events_that_can_be_written_are(tmp_path):
  tensorboard = pytest.importorskip("tensorboardX")
  with tensorboard.SummaryWriter(event_files.register(tmp_path / "a:b")) as writer:
    writer.add_scalar("loss", 1.0, 1)
  (path,) = pathlib.Path(tmp_path / "a:b").iterdir()
  assert b"loss" in path.read_bytes()
