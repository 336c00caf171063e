"""The drill with files that were made to harm: none runs code, none takes more memory than is stated."""

import json
import os
import pathlib
import subprocess
import sys

import drill_table
import hostile_files
import pytest
from robustness.table import check_sentence

pytestmark = pytest.mark.faults

TESTS = pathlib.Path(__file__).parents[1]
ROOM = 24  # MiB that libraries take for themselves
# Of a pickle: what a program of `pickle_data.MAX_STEPS` steps may take.
LIMITS = {"weights that want memory": 200}


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux")
@pytest.mark.parametrize("kind", hostile_files.CORPUS)
def test_harmed_by_nothing(kind, tmp_path):
  folder = tmp_path / "files"
  hostile_files.make(folder, kind)
  done = subprocess.run(
    [sys.executable, TESTS / "hostile_files.py", folder, kind],
    capture_output=True,
    text=True,
    env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), *sys.path])},
  )
  assert done.returncode == 0, done.stdout + done.stderr
  rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
  assert [row[0] for row in rows] == list(hostile_files.CORPUS[kind])
  for name, text, peak, decoded, asked in rows:
    assert not asked, f"{name} ran {asked}"
    assert peak <= max(2 * decoded, LIMITS.get(kind, 0)) + ROOM, f"{name} took {peak} MiB"
    if not text.startswith("value "):
      check_sentence(text)
      assert str(folder / name) in text
  assert not (tmp_path / "victim").exists()
  sentences = sum(not row[1].startswith("value ") for row in rows)
  most = max(rows, key=lambda row: row[2])
  cells = [len(rows), 0, sentences, len(rows) - sentences]
  cells += [f"{most[2]:.0f} MiB", f"{most[0].replace('_', ' ')}, {most[3]:.1f} MiB"]
  drill_table.write("hostile", {kind: cells})
