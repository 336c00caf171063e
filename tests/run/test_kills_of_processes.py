"""The drill of kills of a run of two processes: `pytest -m faults`. See `test_kills.py`.

If one is killed, the other one ends by itself and names it; if one is told to stop, both stop after the same
step. The same command on both continues.
"""

import drill_page
import kills
import pytest
from kills import Command, Kill, exists, logged, said

pytestmark = pytest.mark.faults

BOTH = (0, 1)
TRAINING = Command(
  "training with two processes",
  kills.tiny(
    "--config=tests/tiny_recipe.py:data_dir={data},method=source_only,steps=60",
    "--config.checkpoint.every_steps=7",
    "--config.eval.every_steps=20",
    "--distributed={place}",
  ),
  {
    "the first step compiles": said("training from step 0"),
    "a step is done": logged(10),
    "an evaluation has begun": exists("run/checkpoints/20"),
    "more steps are done": logged(40),
  },
  processes=2,
)
COMPILES, STEP, EVALUATES, MORE = TRAINING.moments
KILLS = [
  Kill(TRAINING, "SIGKILL", STEP, targets=(0,)),
  Kill(TRAINING, "SIGTERM", STEP, targets=(0,)),
  Kill(TRAINING, "SIGTERM", MORE, targets=(1,)),
  Kill(TRAINING, "SIGTERM", MORE, targets=BOTH),
  Kill(TRAINING, "SIGKILL", STEP, targets=(1,)),
  Kill(TRAINING, "SIGKILL", EVALUATES, targets=(1,), is_child=True),
  Kill(TRAINING, "SIGKILL", COMPILES, targets=(0,)),
  Kill(TRAINING, "SIGKILL", MORE, targets=BOTH),
  Kill(TRAINING, "SIGTERM", EVALUATES, targets=BOTH),
  Kill(TRAINING, "SIGINT", STEP, targets=BOTH),
  Kill(TRAINING, "SIGINT", COMPILES, targets=BOTH),
  Kill(TRAINING, "twice", MORE, targets=BOTH),
  Kill(TRAINING, "SIGTERM", "at the start", 0.1, targets=BOTH),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Where the commands run."""
  return kills.Place(tmp_path_factory.mktemp("kills"), (TRAINING,))


@pytest.fixture(scope="module")
def counts(request):
  """The ends of all kills, which go into the page at the end."""
  counts = drill_page.Counts(request.config.cache)
  yield counts
  counts.write(KILLS)


@pytest.mark.parametrize("kill", kills.params(KILLS))
def test_the_same_command_finishes_what_was_killed(kill, place, counts):
  counts.drill(kill, place)
