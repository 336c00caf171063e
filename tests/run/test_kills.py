"""The drill of kills while something is trained: `pytest -m faults`.

Whatever ends a command, and whenever: the same command finishes it, and what it leaves has the same bits as
after a run that was never disturbed. The counts go into docs/reliability.md.
"""

import drill_page
import kills
import pytest
from kills import Command, exists, logged, said

pytestmark = pytest.mark.faults

TINY = "--config=tests/tiny_recipe.py:data_dir={data}"
ONE = f"{TINY},method=source_only"
OFTEN_SAVED = "--config.checkpoint.every_steps=7"
TRAINING = Command(
  "training",
  kills.tiny(f"{ONE},steps=60", OFTEN_SAVED, "--config.eval.every_steps=20"),
  {
    "the first step compiles": said("training from step 0"),
    "a step is done": logged(10),
    "a checkpoint is being written": exists("run/checkpoints/*tmp*"),
    "an evaluation has begun": exists("run/checkpoints/20"),
    "the last step is saved": exists("run/checkpoints/60"),
    "results are there, figures are not": exists("run/results.json"),
  },
  number_random=8,
)
# Its first signal is still obeyed when the second one comes.
SLOW = Command(
  "training with steps of seconds",
  kills.tiny(
    f"{ONE},steps=3",
    "--config.checkpoint.every_steps=1",
    "--config.batch_size=48",
    "--config.model.encoder_options.widths=(96,96,192)",
  ),
  {"step 1 is done": logged(1), "step 2 is done": logged(2)},
)
COMPILING = Command(
  "training, compiled programs being kept",
  ("--workdir={folder}/run", "--compilation_cache={folder}/cache", f"{ONE},steps=8"),
  {"a program is being kept": exists("cache/*")},
)
STAGES = Command(
  "a recipe of three stages",
  kills.tiny("--config=tests/tiny_stages.py:data_dir={data}"),
  {
    "stage 1 is trained": exists("run/warm_up/results.json"),
    "pseudo-labels are being written": exists("run/labels/labels/*.png"),
    "stage 3 has begun": said("stage 3 of 3"),
    "stage 3 trains": exists("run/contrast/metrics.jsonl"),
  },
  number_random=2,
)
BENCHMARK = Command(
  "a comparison of methods",
  kills.tiny(f"{TINY},steps=4", "--methods=source_only,dacs", "--seeds=0"),
  {"method 1 is done": exists("run/benchmark.json")},
  number_random=1,
  module=("-m", "jax_uda.cli.benchmark"),
)
COMMANDS = (TRAINING, SLOW, COMPILING, STAGES, BENCHMARK)
KILLS = [
  *kills.of(TRAINING, each=2),
  *(kills.Kill(SLOW, signal, title) for signal in ("twice", "SIGTERM") for title in SLOW.moments),
  *kills.of(COMPILING, each=2),
  *kills.of(STAGES),
  *kills.of(BENCHMARK),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
  """Where the commands run."""
  return kills.Place(tmp_path_factory.mktemp("kills"), COMMANDS)


@pytest.fixture(scope="module")
def counts(request):
  """The ends of all kills, which go into the page at the end."""
  counts = drill_page.Counts(request.config.cache)
  yield counts
  counts.write(KILLS)


@pytest.mark.parametrize("kill", kills.params(KILLS, every=6))
def test_the_same_command_finishes_what_was_killed(kill, place, counts):
  counts.drill(kill, place)
