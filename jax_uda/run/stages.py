"""What a mode of the command line does with a recipe: with one run, or with its stages in order."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import paths, registry
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.run import best_checkpoint, saved_config, settings, start, training, workdir_lock
from jax_uda.run import check_data as check_lib
from jax_uda.run import config as config_lib
from jax_uda.run import predict as predict_lib
from jax_uda.run import pseudo_label as pseudo_label_lib
from jax_uda.run.config import ConfigDict
from jax_uda.run.report import table
from jax_uda.run.report.page import render as page

# By `config.task`: what runs or continues a stage.
TASKS = {"train": training.train, "pseudo_label": pseudo_label_lib.write_stage}
# In the results of a run; the other keys are sets of images.
ABOUT_RUN = ("step", "checkpoint", "last", "label_size", "absent_classes")

Results = dict[str, Any]  # by stage


def run_stage(config: ConfigDict, workdir: pathlib.Path) -> Any:
  """Runs or continues one run, or one stage of a recipe, whatever its task is.

  Raises:
    ValueError: Another process runs something in `workdir`, or the run cannot go on; see `TASKS`.
  """
  task = registry.lookup(TASKS, config.task, "config.task")
  return _alone(task)(config, workdir)


def _alone(function: Callable[[ConfigDict, pathlib.Path], Any]) -> Callable[..., Any]:
  """A function of a config and a folder that no other process may write into at the same time."""

  def call(config: ConfigDict, workdir: pathlib.Path) -> Any:
    with workdir_lock.hold(workdir):
      return function(config, workdir)

  return call


def run_stages(config: ConfigDict, workdir: pathlib.Path) -> Results:
  """Runs or continues all stages in order, each in its own folder below `workdir`.

  Returns:
    The results of the trained stages by name; of a recipe without stages, by the name of `workdir`.

  Raises:
    SettingError: A stage begins with one that comes later or does not exist.
  """
  stages = config_lib.stage_configs(config)
  if not stages:
    return {workdir.name: run_stage(config, workdir)}
  _check_order(stages, workdir)
  results = {}
  with _recipe_beside(stages, config, workdir):
    for name, stage, heading in _announced(stages):
      print(heading, flush=True)
      result = run_stage(stage, workdir / name)
      if stage.task == "train":
        results[name] = result
  return results


@contextlib.contextmanager
def _recipe_beside(
  stages: Iterable[str], config: ConfigDict, workdir: pathlib.Path
) -> Iterator[None]:
  """Writes the recipe beside its stages; one that is refused before its first stage leaves nothing."""
  has_stage = lambda: any((workdir / name).is_dir() for name in stages)
  if has_stage() or not mesh_lib.is_main_process():
    yield
    return
  saved_config.write_recipe(config, workdir)
  try:
    yield
  finally:
    if not has_stage():
      (workdir / saved_config.RECIPE).unlink(missing_ok=True)


def for_each_trained_stage(
  function: Callable[[ConfigDict, pathlib.Path], Any],
  config: ConfigDict,
  workdir: pathlib.Path,
  *,
  from_file: bool = False,
) -> Results:
  """Applies a function to the stages that have networks of their own and have been trained.

  Args:
    function: Called with the config and the folder of a stage.
    config: The recipe.
    workdir: Folder of the run, or of the stages' folders.
    from_file: Whether a stage counts as trained whose networks start from a weight file.

  Returns:
    What the function returned, by stage.

  Raises:
    SettingError: The recipe is a single run without networks of its own.
    ValueError: No stage has been trained.
  """
  stages = config_lib.stage_configs(config)
  if not stages:
    registry.lookup(TASKS, config.task, "config.task")
    if config.task != "train":
      raise SettingError(
        ("config", "task"),
        f"= {config.task!r}: this run has no networks of its own; --mode=train.",
      )
    return {workdir.name: function(config, workdir)}
  results = {}
  for name, stage, heading in _announced(stages):
    if stage.task != "train":
      continue
    with registry.within("config"):
      starts_from_file = from_file and start.starts_from_file(settings.start_of(stage))
    if not starts_from_file and not start.has_checkpoints(workdir / name):
      print(f"{heading} is not trained yet", flush=True)
      continue
    print(heading, flush=True)
    results[name] = function(stage, workdir / name)
  if not results:
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  return results


def _announced(stages: dict[str, ConfigDict]) -> Iterator[tuple[str, ConfigDict, str]]:
  """The stages with a line to print before each."""
  for number, (name, stage) in enumerate(stages.items(), 1):
    yield name, stage, f"\n== stage {number} of {len(stages)}: {name}"


def _check_order(stages: dict[str, ConfigDict], workdir: pathlib.Path) -> None:
  """Refuses a stage that begins with a later one, before the first stage takes its time.

  Raises:
    SettingError: Names the field of the stage.
  """
  earlier = set()
  for name, stage in stages.items():
    predecessors = {"data.pseudo_labels": stage.data.pseudo_labels}
    if not start.has_checkpoints(workdir / name):
      predecessors |= {"init_from": stage.init_from, "init_auxiliary": stage.init_auxiliary}
    for field, other in predecessors.items():
      if other and other not in earlier and not (workdir / other).is_dir():
        raise SettingError(
          f"config.stages.{name}.{field}",
          f"= {other!r} is neither a stage that config.stages = {tuple(stages)} has before it, nor a "
          f"folder in {workdir}.",
        )
    earlier.add(name)


def _show_side_by_side(config: ConfigDict, results: Results) -> None:
  """Prints one table per set of images, with the stages that `config.compare` names.

  Where a stage reports its best checkpoint, that one and the last have columns.
  """
  compared = [name for name in config.compare if name in results] or list(results)[-1:]
  domains = dict.fromkeys(
    key for name in compared for key in results[name] or () if key not in ABOUT_RUN
  )
  for domain in domains:
    columns = {
      f"{name}{checkpoint} {network}": reported[domain][network]
      for name in compared
      for checkpoint, reported in _checkpoints(results[name])
      if domain in reported
      for network in reported[domain]
    }
    has_best = any("last" in results[name] for name in compared)
    note = f"; best = {best_checkpoint.TITLES[best_checkpoint.BEST]}" if has_best else ""
    table.show(columns, title=f"IoU on {domain} validation images, %{note}")


def _checkpoints(results: Results) -> list[tuple[str, Results]]:
  """What a table calls the reported checkpoint, and its results; beside the best, also the last."""
  if "last" not in results:
    return [("", results)]
  return [(" best", results), (" last", results["last"])]


def train(config: ConfigDict, workdir: str | pathlib.Path) -> Results:
  """Runs or continues a recipe, with or without stages, and prints its results side by side.

  Args:
    config: The recipe's config.
    workdir: Folder of the run, or of the stages' folders; the same call again continues.

  Returns:
    The content of `results.json` by stage; of a recipe without stages, by the name of `workdir`.

  Raises:
    ValueError: The config does not fit itself, the data, or the runs in `workdir`.
    FloatingPointError: A loss is not finite.
  """
  results = _alone(run_stages)(config, paths.expanded(workdir, "workdir"))
  _show_side_by_side(config, results)
  _write_page(config, paths.expanded(workdir, "workdir"))
  return results


def _write_page(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Writes the report of what is in `workdir`; says so where a package for it is missing."""
  if not mesh_lib.is_main_process():
    return
  try:
    page.write(workdir, compared=config.compare)
  except ImportError as error:
    say(f"no {page.FILE}: {error}")


def report(config: ConfigDict, workdir: pathlib.Path, *, watch: bool = False) -> None:
  """Writes `report.html` of the runs in `workdir`, which may still go on.

  Args:
    config: The recipe.
    workdir: Folder of the run, or of the stages' folders.
    watch: Whether to write it again and again, until interrupted.
  """
  while True:
    page.write(workdir, compared=config.compare, watched=watch)
    if not watch:
      return
    time.sleep(page.REFRESH_SECONDS)


def evaluate(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Evaluates the newest checkpoints of the recipe again and prints the results."""
  evaluate_all = functools.partial(
    for_each_trained_stage, _alone(training.evaluate), from_file=True
  )
  results = _alone(evaluate_all)(config, workdir)
  _show_side_by_side(config, results)
  _write_page(config, workdir)


def predict(
  config: ConfigDict, workdir: pathlib.Path, *, network: str = "student", **request: Any
) -> None:
  """Writes the predictions of the recipe's newest checkpoints below their folders.

  Args:
    config: The recipe.
    workdir: Folder of the run, or of the stages' folders.
    network: "student" or "teacher".
    **request: The fields of a `predict.Request`.

  Raises:
    UnreadableImagesError: All other images are predicted, in all stages.
  """
  predict_lib.Request(**request).find()
  errors: list[ValueError] = []

  def write(config: ConfigDict, workdir: pathlib.Path) -> None:
    try:
      predict_lib.write(*training.trained(config, workdir), workdir, network=network, **request)
    except predict_lib.UnreadableImagesError as error:
      errors.append(error)

  for_each_trained_stage(write, config, workdir, from_file=True)
  if errors:
    raise errors[0]


def check_data(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Reports what the data sets of the recipe hold; those of single stages are not looked at."""
  check_lib.check(config.data, workdir, config.eval.targets)


def pseudo_label(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Labels the target's training images with the newest checkpoint of each run of the recipe."""
  write = _alone(pseudo_label_lib.write_for_run)
  _alone(functools.partial(for_each_trained_stage, write))(config, workdir)


def export_weights(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Writes the networks of the recipe's newest checkpoints as weight files."""
  write = _alone(training.export_weights)
  _alone(functools.partial(for_each_trained_stage, write))(config, workdir)
