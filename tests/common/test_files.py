"""What processes that have ended left half-written."""

import subprocess
import sys

import pytest

from jax_uda.common import files

pytestmark = pytest.mark.fast


def test_what_an_ended_process_left_is_removed_and_what_a_living_one_writes_stays(tmp_path):
  ended = subprocess.Popen([sys.executable, "-c", ""])
  ended.wait()
  here = [files.unfinished(tmp_path / "a.png", ending) for ending in ("tmp", "partial")]
  *_, host, pid, _ = here[0].name.split(".")
  left = [path.name.replace(f".{pid}.", f".{ended.pid}.") for path in here]
  elsewhere = left[0].replace(host, "other-host")
  for name in (here[0].name, left[0], elsewhere, "a.png", ".a.png.tmp"):
    (tmp_path / name).touch()
  for name in (here[1].name, left[1]):
    (tmp_path / name / "inner").mkdir(parents=True)
  files.remove_abandoned(tmp_path)
  kept = {path.name for path in tmp_path.iterdir()}
  assert kept == {here[0].name, here[1].name, elsewhere, "a.png", ".a.png.tmp"}
  files.remove_abandoned(tmp_path / "missing")
