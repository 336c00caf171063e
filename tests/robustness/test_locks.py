"""One workdir, one run; one preparation at a time; locks of the dead are free."""

import dataclasses
import functools
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import pytest
import tiny_recipe

from jax_uda.common import lock
from jax_uda.run import stages, workdir_lock

pytestmark = pytest.mark.fast

# A process that takes the lock of a folder, says so, and keeps it until its input ends.
HOLD = """
import pathlib, sys
from jax_uda.common import lock
with lock.hold(lock.FileLease(pathlib.Path(sys.argv[1])), lambda other: f"busy: {other}"):
  print("here", flush=True)
  sys.stdin.read()
"""
busy = "busy: {}".format


def _holder(path: pathlib.Path) -> subprocess.Popen:
  command = [sys.executable, "-c", HOLD, str(path)]
  process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
  assert process.stdout is not None and process.stdout.readline() == "here\n"
  return process


def _write(path: pathlib.Path, **changes) -> lock.Holder:
  """Leaves a lock as another process would have."""
  holder = dataclasses.replace(lock.this_process(), **changes)
  path.write_text(json.dumps(dataclasses.asdict(holder)))
  return holder


@pytest.fixture
def path(tmp_path):
  return tmp_path / "run.lock"


def test_a_second_process_is_refused_and_told_who_has_the_lock(path):
  process = _holder(path)
  try:
    with (
      pytest.raises(ValueError, match=rf"^busy: process {process.pid} on .* since \d{{4}}-"),
      lock.hold(lock.FileLease(path), busy),
    ):
      pass
  finally:
    process.communicate("")
  with lock.hold(lock.FileLease(path), busy):  # it has ended
    assert path.exists()
  assert not path.exists()


def test_the_lock_of_a_killed_process_is_taken_over_and_said(path, capsys):
  process = _holder(path)
  process.kill()  # a zombie until somebody asks for its end, which is dead enough
  time.sleep(0.2)
  with lock.hold(lock.FileLease(path), busy):
    pass
  process.communicate()
  said = rf"took over the lock of process {process.pid} on .*, which has ended without freeing it"
  assert re.search(said, capsys.readouterr().out)


def test_a_number_that_another_process_has_now_is_not_that_process(path, capsys):
  _write(path, pid=os.getppid(), born="1")
  with lock.hold(lock.FileLease(path), busy):
    assert "took over" in capsys.readouterr().out


def test_another_host_is_dead_when_it_gives_no_sign_of_life(path, capsys, monkeypatch):
  _write(path, host="elsewhere")
  os.utime(path, (time.time() - lock.EXPIRES - 1,) * 2)
  with lock.hold(lock.FileLease(path), busy):
    assert "took over the lock of process" in capsys.readouterr().out
  monkeypatch.setattr(lock, "EXPIRES", 0.3)
  monkeypatch.setattr(lock, "_POLL", 0.1)
  _write(path, host="elsewhere")  # it died a moment ago
  with lock.hold(lock.FileLease(path), busy):
    assert "waiting up to" in capsys.readouterr().out


def test_another_host_that_gives_a_sign_of_life_keeps_its_lock(path, monkeypatch):
  monkeypatch.setattr(lock, "_POLL", 0.02)
  _write(path, host="elsewhere")
  os.utime(path, (time.time() - 5,) * 2)
  threading.Timer(0.2, os.utime, [path]).start()
  with pytest.raises(ValueError, match="on elsewhere since"), lock.hold(lock.FileLease(path), busy):
    pass


@pytest.mark.parametrize("content", ("", "{", "[1]", '{"pid": 3, "more": 1}'))
def test_a_damaged_lock_is_somebody_s_until_it_is_old(path, content, monkeypatch):
  path.write_text(content)
  os.utime(path, (time.time() - lock.EXPIRES - 1,) * 2)
  with lock.hold(lock.FileLease(path), busy):
    assert json.loads(path.read_text())["pid"] == os.getpid()


def test_of_two_that_take_over_one_wins(path):
  old = _write(path, pid=2**22 + 1, token="old")
  first = lock.this_process()
  assert lock.FileLease(path).replace(old, first)
  assert not lock.FileLease(path).replace(old, lock.this_process())  # it has seen the old one
  assert json.loads(path.read_text())["token"] == first.token
  assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_sign_of_life_notices_that_the_lock_is_lost(path):
  lease, me = lock.FileLease(path), lock.this_process()
  assert lease.take(me) is None and lease.renew(me)
  path.unlink()
  assert lease.renew(me) and path.exists()  # somebody tidied up
  _write(path, token="another")
  assert not lease.renew(me)
  lease.release(me)
  assert path.exists()


def test_signs_of_life_are_given(path, monkeypatch):
  monkeypatch.setattr(lock, "HEARTBEAT", 0.05)
  with lock.hold(lock.FileLease(path), busy):
    os.utime(path, (1, 1))
    time.sleep(0.3)
    assert path.stat().st_mtime > 1


def test_who_waits_says_so_and_gets_its_turn(tmp_path, capsys):
  folder, order = tmp_path / "data", []

  def work(name):
    with lock.hold_folder(folder, "a data set is being prepared"):
      order.append(name)
      time.sleep(0.2)
      order.append(name)

  threads = [threading.Thread(target=work, args=(name,)) for name in "ab"]
  [thread.start() for thread in threads]
  [thread.join() for thread in threads]
  assert order in (list("aabb"), list("bbaa"))
  assert re.search(r"a data set is being prepared in .*data by process", capsys.readouterr().out)


# --- runs ---

MODES = {
  "train": stages.train,
  "eval": stages.evaluate,
  "pseudo_label": stages.pseudo_label,
  "export_weights": stages.export_weights,
  "stage": stages.run_stage,
}


@pytest.mark.parametrize("mode", MODES)
def test_what_writes_into_a_workdir_is_refused_while_a_run_is_under_way(mode, tmp_path):
  (tmp_path / "run").mkdir()
  process = _holder(tmp_path / "run" / workdir_lock.FILE)
  try:
    sentence = rf"a run is under way in .*run: process {process.pid} on .* since .*--workdir"
    with pytest.raises(ValueError, match=sentence):
      MODES[mode](tiny_recipe.get_config(), tmp_path / "run")
  finally:
    process.communicate("")


def test_the_stages_of_a_run_share_its_lock_and_a_refused_run_leaves_no_folder(tmp_path):
  folder = tmp_path / "a" / "run"
  with workdir_lock.hold(folder), workdir_lock.hold(folder):
    assert (folder / workdir_lock.FILE).exists()
  assert not folder.parent.exists()


def test_half_written_files_of_a_killed_run_are_removed_and_no_others(tmp_path):
  kept = ("results.json", ".hidden", "mine.tmp")
  for name in (*kept, ".results.json.host.123.tmp", ".config.json.77.tmp"):
    (tmp_path / name).touch()
  with workdir_lock.hold(tmp_path):
    assert {file.name for file in tmp_path.iterdir()} == {*kept, workdir_lock.FILE}


def test_a_workdir_that_cannot_be_written_is_one_sentence(tmp_path):
  (tmp_path / "file").touch()
  hold = functools.partial(workdir_lock.hold, tmp_path / "file" / "run")
  with pytest.raises(OSError, match="Not a directory"), hold():
    pass
