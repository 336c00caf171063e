"""The drill: `pytest -m faults`. It writes its counts into docs/reliability.md.

Each fault may end in the same bits as an undisturbed run, in the previous checkpoint, said, or in one
sentence.
"""

import collections
import json
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

import damage
import jax
import numpy as np
import pytest
import tiny_recipe

from jax_uda.run import experiment, interruption, start

pytestmark = pytest.mark.faults

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
STEPS, FLIPS, KILLS = 60, 200, 5
# By kind of fault: the signals, and the seconds after each.
SIGNALS = {
  "SIGKILL": ((signal.SIGKILL, 0.0),),
  "SIGTERM": ((signal.SIGTERM, 0.0),),
  "SIGINT": ((signal.SIGINT, 0.0),),
  "SIGTERM twice": ((signal.SIGTERM, interruption.ECHO + 0.1), (signal.SIGTERM, 0.0)),
}
HARMS = {
  "a bit flipped in a checkpoint's file": (damage.flip, FLIPS),
  "a file of a checkpoint cut": (damage.truncate, 30),
  "a file of a checkpoint deleted": (damage.delete, 30),
}
KINDS = (*(f"training, {name} at a random moment" for name in SIGNALS), *HARMS)
ENDS = (damage.SAME, damage.PREVIOUS, damage.SENTENCE)


@pytest.fixture(scope="module")
def counts():
  """How often each kind of fault ended in which way; the page is written when all kinds were drilled."""
  counts = collections.defaultdict(collections.Counter)
  yield counts
  if set(counts) == set(KINDS):
    rows = [
      f"| {kind} | {sum(counts[kind].values())} | "
      + " | ".join(str(counts[kind][end]) for end in ENDS)
      + " |"
      for kind in KINDS
    ]
    head = f"| fault | number | {' | '.join(ENDS)} |\n|---|---|---|---|---|\n"
    table = f"<!-- drill -->\n{head}" + "\n".join(rows) + "\n<!-- /drill -->"
    text = PAGE.read_text()
    PAGE.write_text(re.sub("<!-- drill -->.*<!-- /drill -->", table, text, flags=re.DOTALL))


@pytest.mark.parametrize("kind", HARMS)
def test_files_that_are_harmed(kind, counts, tmp_path):
  harm, number = HARMS[kind]
  files = damage.make(tmp_path / "checkpoints")
  counts[kind].update(
    damage.end_of(
      tmp_path / "checkpoints",
      files[seed % len(files)],
      harm,
      1000 + seed,
      keep=(None, 2)[seed % 2],
    )
    for seed in range(number)
  )
  assert set(counts[kind]) <= set(ENDS)


def begin(data: pathlib.Path, workdir: pathlib.Path) -> subprocess.Popen:
  command = [
    sys.executable,
    "main.py",
    f"--config=tests/tiny_recipe.py:data_dir={data},steps={STEPS},method=source_only",
    f"--workdir={workdir}",
    f"--compilation_cache={jax.config.jax_compilation_cache_dir}",
    "--config.checkpoint.every_steps=7",
    "--config.eval.every_steps=20",
  ]
  return subprocess.Popen(
    command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
  )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
  """The folder of the data, that of an undisturbed run, and the seconds that it took."""
  data, workdir = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("runs") / "whole"
  for name in ("compiled", "whole"):
    began = time.monotonic()
    process = begin(data, workdir.with_name(name))
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
  return data, workdir, time.monotonic() - began


def last_state(data: pathlib.Path, workdir: pathlib.Path) -> list[np.ndarray]:
  config = tiny_recipe.get_config(f"data_dir={data},steps={STEPS},method=source_only")
  with start.read_checkpoints(workdir) as checkpoints:
    state = checkpoints.restore(experiment.build(config).initial_state())
  return jax.device_get(jax.tree.leaves(state.replace(key=None)))


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("seed", range(KILLS))
def test_a_run_that_is_told_or_made_to_end(seed, name, undisturbed, counts, tmp_path):
  data, whole, seconds = undisturbed
  workdir = tmp_path / "run"
  process = begin(data, workdir)
  time.sleep(random.Random(f"{seed} {name}").uniform(0.5, 1.0) * seconds)
  told = time.monotonic()
  for number, pause in SIGNALS[name]:
    process.send_signal(number)
    time.sleep(pause)
  out, _ = process.communicate(timeout=120)
  assert time.monotonic() - told < 20
  assert "Traceback" not in out, out
  assert process.returncode in (0, interruption.EXIT_CODE, -signal.SIGKILL, -signal.SIGTERM), out
  if "saved in" in out:  # no step is lost
    saved = max(int(path.name) for path in (workdir / "checkpoints").iterdir())
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert saved == max(row["step"] for row in rows)
  process = begin(data, workdir)
  out, _ = process.communicate(timeout=600)
  assert process.returncode == 0, out
  states = last_state(data, whole), last_state(data, workdir)
  jax.tree.map(np.testing.assert_array_equal, *states)
  counts[f"training, {name} at a random moment"][damage.SAME] += 1
