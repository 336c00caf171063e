"""Which checkpoint a run reports: the last one, or the best on the target's validation images.

The best one is an oracle: it is chosen with labels that adaptation does not have. Some published numbers are of
this kind. It is kept in a folder of its own, `best_on_target/<step>/`, whatever becomes of the other
checkpoints; `best_on_target/best.json` says which step it is. Everything is on disk before the scores of that
step are, so that a run that is killed knows its best when it goes on.
"""

import math
import pathlib
import shutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files
from jax_uda.common.log import say
from jax_uda.run import checkpoint, frozen, record
from jax_uda.step.state import TrainState

LAST, BEST = "last", "best_on_target"
# By `config.report`: what tables and `results.json` call the checkpoint.
TITLES = {LAST: "last", BEST: "best_on_target (oracle: chosen with the target's labels)"}


class Best(NamedTuple):
  """The best evaluation so far.

  Attributes:
    step: Its step.
    miou: The mIoU on the target's validation images, in [0, 1].
    network: The network that has this score.
  """

  step: int
  miou: float
  network: str


def read(workdir: pathlib.Path) -> Best | None:
  """The best evaluation of a run whose checkpoint was kept; None if there is none.

  Raises:
    ValueError: The file that says so is damaged.
  """
  path = workdir / BEST / "best.json"
  if not path.is_file():
    return None
  try:
    best = Best(**state_files.read_json(path, dict, "it says which step is the best"))
  except (ValueError, TypeError):
    raise ValueError(
      f"{path} is damaged. Remove it to choose among the evaluations that are still to come, or set "
      "config.report = 'last'."
    ) from None
  return best if best.step in checkpoint.saved_steps(_folder(workdir, best.step)) else None


def _folder(workdir: pathlib.Path, step: int) -> pathlib.Path:
  return workdir / BEST / str(step)


def keep(workdir: pathlib.Path, state: TrainState, means: Mapping[str, float | None]) -> None:
  """Keeps the state if it is better than all before. Of equal ones the earliest stays.

  Args:
    workdir: Folder of the run.
    state: The state that was evaluated.
    means: mIoU on the target's validation images by network. The first network counts. Numbers are compared
      as `results.json` has them, rounded to six decimals; NaN or None is never the best.

  Raises:
    checkpoint.CheckpointError: The state cannot be written.
  """
  network, value = next(iter(means.items()))
  step, before = int(state.step), read(workdir)
  if value is None or math.isnan(value):
    return
  value = round(float(value), 6)
  if before and value <= before.miou:
    return
  folder, is_main = _folder(workdir, step), mesh_lib.is_main_process()
  if is_main:
    shutil.rmtree(folder, ignore_errors=True)  # from before a kill
    folder.mkdir(parents=True)
  with frozen.RunCheckpoints(workdir, 1, folder) as checkpoints:
    checkpoints.save(state)
    checkpoints.wait()
  say(f"step {step}: the best mIoU on target so far, %: {network} {100 * value:.1f} (an oracle)")
  if is_main:
    state_files.write_json(workdir / BEST / "best.json", Best(step, value, network)._asdict())
    for other in (workdir / BEST).iterdir():
      if other.is_dir() and other != folder:
        shutil.rmtree(other, ignore_errors=True)


def find(run: pathlib.Path, report: str | None = None) -> tuple[pathlib.Path, str]:
  """The folder of the checkpoint that a run reports, and what it is called.

  Args:
    run: Folder of the run.
    report: "last" or "best_on_target"; None: as the config of the run says. A run that was not evaluated
      yet has only its last one.
  """
  if report is None:
    has_config = (run / record.CONFIG).is_file()
    report = record.read_config(run).get("report", LAST) if has_config else LAST
  best = read(run) if report == BEST else None
  if best is None:
    return run / "checkpoints", TITLES[LAST]
  return _folder(run, best.step), TITLES[BEST]


def restore(state: TrainState, workdir: pathlib.Path, report: str) -> TrainState:
  """The state of the checkpoint that is reported.

  Args:
    state: The last state.
    workdir: Folder of the run.
    report: "last" or "best_on_target".

  Raises:
    checkpoint.CheckpointError: The checkpoint cannot be read.
  """
  folder, title = find(workdir, report)
  if title == TITLES[LAST] or int(folder.name) == int(state.step):
    return state
  with frozen.RunCheckpoints(workdir, None, folder) as checkpoints:
    return checkpoints.restore(state)


def reported(
  last: dict[str, Any],
  state: TrainState,
  workdir: pathlib.Path,
  score: Callable[[TrainState], dict[str, Any]],
) -> dict[str, Any]:
  """The results of a run that reports its best checkpoint; those of its last one are in `last`.

  Args:
    last: The results of the last state.
    state: The last state.
    workdir: Folder of the run.
    score: Evaluates a state on all sets.
  """
  best = read(workdir)
  if best is None:
    say("config.report = 'best_on_target', but no evaluation was kept: the last one is reported")
    return last
  is_last = best.step == last["step"]
  scores = last if is_last else score(restore(state, workdir, BEST))
  return {**scores, "step": best.step, "checkpoint": TITLES[BEST], "last": last}
