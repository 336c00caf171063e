"""Runs of several methods and seeds: where each lies, what is left to do, how they compare."""

import json
import pathlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from jax_uda.common import files, mesh
from jax_uda.run import config as config_lib
from jax_uda.run import config_diff, record, stages
from jax_uda.run.config import ConfigDict
from jax_uda.run.report import comparison, curves, figures, progress, runs, table

# Fields that name the run of an earlier stage.
LINKS = ("init_from", "init_auxiliary", "data.pseudo_labels")


class Stage(NamedTuple):
  """One run of a job."""

  config: ConfigDict
  folder: pathlib.Path


class Job(NamedTuple):
  """A method with a seed: its stages in order, the last one being its own."""

  method: str
  seed: int
  stages: tuple[Stage, ...]


def compare_methods(
  configs: Mapping[tuple[str, int], ConfigDict], workdir: pathlib.Path, *, title: str
) -> None:
  """Trains what is not done, and compares the methods.

  Args:
    configs: Recipes by method and seed, in the order of training.
    workdir: Folder of all runs; the same call again continues.
    title: Title of the table and the plot.

  Raises:
    ValueError: The folder holds runs of other configs.
    RuntimeError: A run failed; the others are compared.
  """
  order = list(dict.fromkeys(method for method, _ in configs))
  jobs = plan_jobs(configs, workdir)
  errors = train_jobs(jobs, lambda done: write_comparison(done, order, workdir, title))
  done = [job for job in jobs if is_done(job.stages[-1])]
  if done:
    summary = write_comparison(done, order, workdir, title)
    table.show_grid(comparison.brief(summary), title=f"{title}: mIoU on the target, %")
    print(f"all tables, and how to read them: {workdir / 'benchmark.md'}", flush=True)
  if errors:
    raise RuntimeError(f"{len(errors)} of {len(jobs)} runs failed.\n{_reasons(errors)}")


def plan_jobs(configs: Mapping[tuple[str, int], ConfigDict], workdir: pathlib.Path) -> list[Job]:
  """The jobs of all methods and seeds; those of one seed share the stages that are the same.

  Args:
    configs: Recipes, with or without stages, by method and seed.
    workdir: Folder of all runs. A stage lies in `seed<k>/<stage>`, and the last one, the method's, in
      `seed<k>/<method>`. Where a run of another config (with another network, say) has that folder
      already, an earlier stage lies in `seed<k>/<method>_<stage>`.
  """
  planned: dict[int, dict[str, ConfigDict]] = {}  # configs by seed and folder name
  jobs = []
  for (method, seed), config in configs.items():
    folders = planned.setdefault(seed, {})
    job = _plan_job(config, method, seed, workdir / f"seed{seed}", folders)
    folders |= {stage.folder.name: stage.config for stage in job.stages}
    jobs.append(job)
  return jobs


def _plan_job(
  config: ConfigDict,
  method: str,
  seed: int,
  root: pathlib.Path,
  planned: Mapping[str, ConfigDict],
) -> Job:
  """The stages of one recipe with their folders below `root`, beside those planned already."""
  configs = config_lib.stage_configs(config) or {method: config}
  last = list(configs)[-1]
  folders: dict[str, str] = {}  # by stage
  job_stages: list[Stage] = []
  for name, stage in configs.items():
    stage = stage.copy_and_resolve_references().unlock()
    for link in LINKS:
      group, _, field = link.rpartition(".")
      part = stage[group] if group else stage
      part[field] = folders.get(part[field], part[field])
    stage.lock()
    candidates = [method] if name == last else [name, f"{method}_{name}"]
    here = {job_stage.folder.name: job_stage.config for job_stage in job_stages}
    fitting = (
      folder
      for folder in candidates
      if _fits(root / folder, here.get(folder, planned.get(folder)), stage)
    )
    folders[name] = next(fitting, candidates[-1])
    job_stages.append(Stage(stage, root / folders[name]))
  return Job(method, seed, tuple(job_stages))


def _fits(folder: pathlib.Path, planned: ConfigDict | None, stage: ConfigDict) -> bool:
  """Whether `stage` can be run in `folder`, or is what was run or is to be run there."""
  if planned is not None and config_diff.differences(
    config_diff.to_plain(planned), config_diff.to_plain(stage)
  ):
    return False
  try:
    record.check_config(stage, folder)
  except ValueError:
    return False
  return True


def is_done(stage: Stage) -> bool:
  """Whether the run got to its end, was evaluated, and has its figures.

  Raises:
    ValueError: The folder holds a run of another config.
  """
  record.check_config(stage.config, stage.folder)
  end = config_lib.last_step(stage.config)
  if not (stage.folder / runs.RESULTS).exists():
    return False
  results = runs.read_results(stage.folder)
  is_at_end = results.get("last", results)["step"] == end
  return is_at_end and figures.drawn_step(stage.folder) == results["step"]


def train_jobs(jobs: Sequence[Job], report: Callable[[list[Job]], Any]) -> dict[str, str]:
  """Trains what is not done.

  A job that fails, with a loss that is not finite, say, does not keep the others from running.

  Args:
    jobs: All jobs, in the order of training.
    report: Called after each job with those that are done.

  Returns:
    The errors by job.
  """
  done = [job for job in jobs if is_done(job.stages[-1])]
  to_do = [job for job in jobs if job not in done]
  print(f"{len(jobs)} runs: {len(done)} done, {len(to_do)} to go", flush=True)
  errors: dict[str, str] = {}
  times: dict[str, list[float]] = {}
  for number, job in enumerate(to_do, 1):
    begin = time.perf_counter()
    try:
      _train_job(job)
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


def _train_job(job: Job) -> None:
  """Runs or continues the stages that are not done."""
  for stage in job.stages:
    if not is_done(stage):
      print(f"\n== {job.method}, seed {job.seed}: {stage.folder.name}", flush=True)
      stages.run_stage(stage.config, stage.folder)
      jax.clear_caches()  # the programs of dozens of runs would fill the memory


def _expected(rest: Sequence[Job], times: Mapping[str, list[float]]) -> float:
  """Seconds for `rest`: a method takes as long as before; one not run yet, as the others."""
  mean = lambda values: sum(values) / len(values)
  typical = mean([mean(values) for values in times.values()])
  return sum(mean(times[job.method]) if job.method in times else typical for job in rest)


def read_job(job: Job) -> runs.Run:
  """The numbers of a finished job."""
  start, before, run = 0, 0.0, None
  for config, folder in job.stages:
    if config.task != "train":
      continue
    if run:
      before = run.total_seconds
      start = run.steps[-1] if config.init_carry == "run" else 0
    run = runs.read(folder, images_per_step=2 * config.batch_size, start=start, before=before)
  if run is None:
    raise ValueError(f"{job.method}: no stage of the recipe trains a network.")
  return run


def write_comparison(
  jobs: Sequence[Job], order: Sequence[str], root: pathlib.Path, title: str
) -> dict[str, Any]:
  """Writes `benchmark.json`, `benchmark.md` and `benchmark.png` of finished jobs.

  Args:
    jobs: The finished jobs.
    order: The methods in the order of the tables.
    root: Folder of the files.
    title: Title of the tables and the plot.

  Returns:
    The summary by method, as in `benchmark.json`.
  """
  numbers: dict[str, dict[int, runs.Run]] = {method: {} for method in order}
  for job in jobs:
    numbers[job.method][job.seed] = read_job(job)
  summary = comparison.summarise(numbers)
  config = jobs[0].stages[-1].config
  settings: dict[str, Any] = dict(
    title=title, num_steps=config_lib.last_step(config), every=config.eval.every_steps
  )
  if mesh.is_main_process():
    text = json.dumps({"command": sys.argv, "methods": summary, **settings}, indent=2)
    files.write_atomically(root / "benchmark.json", text)
    files.write_atomically(root / "benchmark.md", comparison.markdown(summary, **settings))
    try:
      curves.draw(root / "benchmark.png", numbers, title=title)
    except ImportError as error:
      print(f"no pictures: {error}", flush=True)
  return summary


def _reasons(errors: Mapping[str, str]) -> str:
  """Each reason once, with the runs that failed for it; often it is one for all."""
  names: dict[str, list[str]] = {}
  for name, text in errors.items():
    names.setdefault(text, []).append(name)
  return "\n".join(f"{'; '.join(failed)}: {text}" for text, failed in names.items())
