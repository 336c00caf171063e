"""A config as the command line gives it: one run, or several stages in order."""

import pathlib
from collections.abc import Callable
from typing import Any

from jax_uda.common import registry
from jax_uda.run import check_data as check_lib
from jax_uda.run import config as config_lib
from jax_uda.run import predict as predict_lib
from jax_uda.run import pseudo_label, start
from jax_uda.run import training as train_lib
from jax_uda.run.report import table

# What a run or stage is for.
TASKS = {"train": train_lib.train, "pseudo_label": pseudo_label.write_stage}
ABOUT_RUN = ("step", "checkpoint")  # in the results of a run; the other keys are sets of images


def _of_task(config: config_lib.ConfigDict, function: Callable) -> Callable:
  """`function`, or what stands for training in a run that is for something else."""
  task = registry.lookup(TASKS, config.task, "task")
  if function is train_lib.train or task is train_lib.train:
    return task if function is train_lib.train else function
  raise ValueError(
    f"config.task = {config.task!r}: this run has no networks of its own; --mode=train."
  )


def run_stage(config: config_lib.ConfigDict, workdir: pathlib.Path) -> Any:
  """Runs or continues one run, or one stage of a recipe, whatever it is for."""
  return _of_task(config, train_lib.train)(config, workdir)


def _check_order(stages: dict[str, config_lib.ConfigDict], workdir: pathlib.Path) -> None:
  """Raises ValueError, before the first stage takes its time, for one that begins with a later one."""
  seen = set()
  for name, stage in stages.items():
    begun = start.has_checkpoints(workdir / name)
    before = {"data.pseudo_labels": stage.data.pseudo_labels}
    if not begun:
      before |= {"init_from": stage.init_from, "init_player": stage.init_player}
    for field, other in before.items():
      if other and other not in seen and not (workdir / other).is_dir():
        raise ValueError(
          f"config.stage.{name}.{field} = {other!r} is neither a stage that config.stages = "
          f"{tuple(stages)} has before it, nor a folder in {workdir}."
        )
    seen.add(name)


def _run(
  config: config_lib.ConfigDict,
  workdir: pathlib.Path,
  function: Callable[[config_lib.ConfigDict, pathlib.Path], Any],
  *,
  from_file: bool = False,
) -> dict[str, Any]:
  """Applies `function` to each stage in its own folder below `workdir`; results by stage.

  A stage that is not trained is left out; `from_file`: unless its networks start from a weight file.
  """
  if not config.stages:
    return {workdir.name: _of_task(config, function)(config, workdir)}
  stages = {name: config_lib.stage_config(config, name) for name in config.stages}
  if function is train_lib.train:
    _check_order(stages, workdir)
  found = {}
  for number, (name, stage) in enumerate(stages.items(), 1):
    if stage.task != "train":
      if function is train_lib.train:
        print(f"\n== stage {number} of {len(stages)}: {name}", flush=True)
        run_stage(stage, workdir / name)
      continue
    ready = function is train_lib.train or start.has_checkpoints(workdir / name)
    if not ready and not (from_file and start.starts_from_file(stage)):
      print(f"\n== stage {number} of {len(stages)}: {name} is not trained yet", flush=True)
      continue
    print(f"\n== stage {number} of {len(stages)}: {name}", flush=True)
    found[name] = function(stage, workdir / name)
  if not found:
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  return found


def _compare(config: config_lib.ConfigDict, found: dict[str, dict[str, Any] | None]) -> None:
  compared = [name for name in config.compare if name in found] or list(found)[-1:]
  sets = dict.fromkeys(
    key for name in compared for key in found[name] or () if key not in ABOUT_RUN
  )
  for domain in sets:
    columns = {
      f"{name} {network}": found[name][domain][network]
      for name in compared
      if domain in found[name]
      for network in ("student", "teacher")
    }
    table.show(columns, title=f"IoU on {domain} validation images, %")


def train(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Runs or continues the recipe and prints its results side by side."""
  _compare(config, _run(config, workdir, train_lib.train))


def evaluate(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Evaluates the newest checkpoints of the recipe again and prints the results."""
  _compare(config, _run(config, workdir, train_lib.evaluate, from_file=True))


def predict(config: config_lib.ConfigDict, workdir: pathlib.Path, **settings: Any) -> None:
  """Writes the predictions of the recipe's newest checkpoints; settings of `predict.write`."""
  predict_lib.list_images(settings["images"], settings["suffix"])
  write = lambda config, workdir: predict_lib.write(
    *train_lib.trained(config, workdir), workdir, **settings
  )
  _run(config, workdir, write, from_file=True)


def check_data(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Says what is in the data of the recipe; stages with data of their own are not looked at."""
  check_lib.check(config.data, workdir, config.eval.targets)


def pseudo_label(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Labels the target's training images with the newest checkpoint of each run of the recipe."""
  _run(config, workdir, pseudo_label.write_for_run)


def export_weights(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Writes the networks of the recipe's newest checkpoints as weight files."""
  _run(config, workdir, train_lib.export_weights)
