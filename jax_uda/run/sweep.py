"""Runs of several methods and seeds: where each lies, what is left to do, what came out."""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jax_uda.common import files, mesh
from jax_uda.run import config as config_lib
from jax_uda.run import record
from jax_uda.run import stages as recipe
from jax_uda.run.report import comparison, curves, progress, runs, table

# Fields that name the run of an earlier stage.
LINKS = ("init_from", "init_player", "data.pseudo_labels")


class Stage(NamedTuple):
  """One run of a job."""

  config: Any
  folder: pathlib.Path


class Job(NamedTuple):
  """A method with a seed: its stages in order, the last one being its own."""

  method: str
  seed: int
  stages: tuple[Stage, ...]


def plan(config: Any, method: str, seed: int, root: pathlib.Path, taken: dict[str, Any]) -> Job:
  """The stages of a method's recipe, each with its folder below `root`.

  Args:
    config: The recipe, with or without stages.
    method: Names the folder of the last stage.
    seed: Of the training.
    root: Of all runs of this seed.
    taken: Folder name -> config of the stages planned so far; extended. A stage whose name is taken by
      one of another config (another network, say) gets a folder of its own.
  """
  stages, moved = [], {}
  names = list(config.stages) or [method]
  for name in names:
    stage = config_lib.stage_config(config, name) if config.stages else config
    stage = stage.copy_and_resolve_references()
    stage.unlock()
    for link in LINKS:
      group, _, field = link.rpartition(".")
      part = stage[group] if group else stage
      part[field] = moved.get(part[field], part[field])
    stage.lock()
    candidates = [method] if name == names[-1] else [name, f"{method}_{name}"]
    fits = lambda folder, stage=stage: _fits(root / folder, taken.get(folder), stage)
    moved[name] = next(filter(fits, candidates), candidates[-1])
    taken[moved[name]] = stage
    stages.append(Stage(stage, root / moved[name]))
  return Job(method, seed, tuple(stages))


def _fits(folder: pathlib.Path, planned: Any, stage: Any) -> bool:
  """Whether `stage` can be run in `folder`, or is what was run or is to be run there."""
  if planned is not None and config_lib.differences(
    config_lib.to_plain(planned), config_lib.to_plain(stage)
  ):
    return False
  try:
    record.check_config(stage, folder)
  except ValueError:
    return False
  return True


def is_done(stage: Stage) -> bool:
  """Whether the run got to its end and was evaluated.

  Raises:
    ValueError: The folder holds a run of another config.
  """
  record.check_config(stage.config, stage.folder)
  path = stage.folder / "results.json"
  return path.exists() and json.loads(path.read_text())["step"] == config_lib.last_step(
    stage.config
  )


def _train(job: Job) -> None:
  """Runs or continues the stages that are not done."""
  for stage in job.stages:
    if not is_done(stage):
      print(f"\n== {job.method}, seed {job.seed}: {stage.folder.name}", flush=True)
      recipe.run_stage(stage.config, stage.folder)
      jax.clear_caches()  # the programs of dozens of runs would fill the memory


def read(job: Job) -> runs.Run:
  """The numbers of a finished job."""
  start, before, found = 0, 0.0, None
  for config, folder in job.stages:
    if config.task != "train":
      continue
    if found:
      before = found.total_seconds
      start = found.steps[-1] if config.init_carry == "run" else 0
    found = runs.read(folder, images_per_step=2 * config.batch_size, start=start, before=before)
  return found


def train(jobs: Sequence[Job], report: Callable[[list[Job]], None]) -> dict[str, str]:
  """Trains what is not done, with a report after each job; the errors by job.

  A job that fails, with a loss that is not finite, say, does not keep the others from running.
  """
  done = [job for job in jobs if is_done(job.stages[-1])]
  to_do = [job for job in jobs if job not in done]
  print(f"{len(jobs)} runs: {len(done)} done, {len(to_do)} to go", flush=True)
  errors, times = {}, {}
  for number, job in enumerate(to_do, 1):
    begin = time.perf_counter()
    try:
      _train(job)
    except (ValueError, ArithmeticError, RuntimeError) as error:
      errors[f"{job.method}, seed {job.seed}"] = str(error)
      print(f"failed: {job.method}, seed {job.seed}: {error}", flush=True)
      continue
    seconds = time.perf_counter() - begin
    times.setdefault(job.method, []).append(seconds)
    done.append(job)
    report(done)
    rest = to_do[number:]
    text = f"{job.method}, seed {job.seed}: done in {progress.duration(seconds)}"
    left = f"ETA {progress.duration(_expected(rest, times))}" if rest else "none to go"
    print(f"\n== {text}; {len(done)} of {len(jobs)} done, {left}", flush=True)
  return errors


def _expected(rest: Sequence[Job], times: Mapping[str, list[float]]) -> float:
  """Seconds for `rest`: a method takes as long as before; one not run yet, as the others."""
  mean = lambda values: sum(values) / len(values)
  typical = mean([mean(values) for values in times.values()])
  return sum(mean(times[job.method]) if job.method in times else typical for job in rest)


def write(
  jobs: Sequence[Job], order: Sequence[str], root: pathlib.Path, title: str
) -> dict[str, Any]:
  """Writes `benchmark.json`, `benchmark.md` and `benchmark.png` of finished jobs; the summary."""
  found = {method: {} for method in order}
  for job in jobs:
    found[job.method][job.seed] = read(job)
  summary = comparison.summarise(found)
  config = jobs[0].stages[-1].config
  settings = dict(
    title=title, num_steps=config_lib.last_step(config), every=config.eval.every_steps
  )
  if mesh.is_main_process():
    text = json.dumps({"command": sys.argv, "methods": summary, **settings}, indent=2)
    files.write_atomically(root / "benchmark.json", text)
    files.write_atomically(root / "benchmark.md", comparison.markdown(summary, **settings))
    try:
      curves.draw(root / "benchmark.png", found, title=title)
    except ImportError as error:
      print(f"no pictures: {error}", flush=True)
  return summary


def _reasons(errors: Mapping[str, str]) -> str:
  """Each reason once, with the runs that failed for it; often it is one for all."""
  names: dict[str, list[str]] = {}
  for name, text in errors.items():
    names.setdefault(text, []).append(name)
  return "\n".join(f"{'; '.join(found)}: {text}" for text, found in names.items())


def run(
  configs: Mapping[tuple[str, int], config_lib.ConfigDict], workdir: pathlib.Path, *, title: str
) -> None:
  """Trains what is not done, and compares the methods.

  Args:
    configs: Recipes by method and seed, in the order of training.
    workdir: Folder of all runs; the same call again continues.
    title: Of table and plot.

  Raises:
    ValueError: The folder holds runs of other configs.
    RuntimeError: A run failed; the others are compared.
  """
  order = list(dict.fromkeys(method for method, _ in configs))
  planned: dict[int, dict[str, Any]] = {}
  jobs = []
  for (method, seed), config in configs.items():
    taken = planned.setdefault(seed, {})
    jobs.append(plan(config, method, seed, workdir / f"seed{seed}", taken))
  errors = train(jobs, lambda done: write(done, order, workdir, title))
  done = [job for job in jobs if is_done(job.stages[-1])]
  if done:
    summary = write(done, order, workdir, title)
    table.show_grid(comparison.brief(summary), title=f"{title}: mIoU on the target, %")
    print(f"all tables, and how to read them: {workdir / 'benchmark.md'}", flush=True)
  if errors:
    raise RuntimeError(f"{len(errors)} of {len(jobs)} runs failed.\n{_reasons(errors)}")
