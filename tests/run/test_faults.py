"""The drill of damaged checkpoints: `pytest -m faults`. It writes its counts into docs/reliability.md.

Each fault may end in the same bits as an undisturbed run, in the previous checkpoint, said, or in one
sentence.
"""

import collections
import pathlib
import re

import damage
import pytest

pytestmark = pytest.mark.faults

ROOT = pathlib.Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reliability.md"
FLIPS = 200
HARMS = {
  "a bit flipped in a checkpoint's file": (damage.flip, FLIPS),
  "a file of a checkpoint cut": (damage.truncate, 30),
  "a file of a checkpoint deleted": (damage.delete, 30),
}
ENDS = (damage.SAME, damage.PREVIOUS, damage.SENTENCE)


@pytest.fixture(scope="module")
def counts():
  """How often each kind of fault ended in which way; the page is written when all kinds were drilled."""
  counts = collections.defaultdict(collections.Counter)
  yield counts
  if set(counts) == set(HARMS):
    rows = [
      f"| {kind} | {sum(counts[kind].values())} | "
      + " | ".join(str(counts[kind][end]) for end in ENDS)
      + " |"
      for kind in HARMS
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
