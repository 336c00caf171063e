"""One run: start or continue, train, evaluate."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import registry
from jax_uda.data.pipeline import batches as pipeline
from jax_uda.models import weights
from jax_uda.run import checkpoint, dry_run, experiment, record, results, source_pass, start
from jax_uda.run import config as config_lib
from jax_uda.run.report import pictures
from jax_uda.run.report.writer import MetricWriter, has_scores
from jax_uda.run.step_log import StepLog
from jax_uda.step.state import TrainState

say = lambda text: print(text, flush=True)


def _compile(
  exp: experiment.Experiment, phase_start: int, state: TrainState, batch: Any
) -> Callable:
  """Compiles the step ahead of time and says what it needs."""
  began = time.perf_counter()
  step = exp.train_step(phase_start).lower(state, batch).compile()
  seconds = time.perf_counter() - began
  memory = step.memory_analysis()
  mib = lambda size: f"{size / 2**20:.0f} MiB"
  say(
    f"step compiled in {seconds:.1f} s; each device needs {mib(memory.argument_size_in_bytes)} for "
    f"state and batch and {mib(memory.temp_size_in_bytes)} for temporaries"
  )
  return step


Midway = Sequence[tuple[int, Callable[[TrainState], None]]]  # what is done every so many steps


def _is_due(every: int, done: int, end: int) -> bool:
  return done == end or bool(every and done % every == 0)


def _catch_up(state: TrainState, end: int, midway: Midway, workdir: pathlib.Path) -> None:
  """Does what a kill kept the run from doing between its newest checkpoint and the next step."""
  done = int(state.step)
  if done < end and not has_scores(workdir, done):
    for every, function in midway:
      if _is_due(every, done, end):
        function(state)


def _loop(
  exp: experiment.Experiment,
  state: TrainState,
  batches: Iterator[Any],
  log: StepLog,
  checkpoints: checkpoint.Checkpoints,
  midway: Midway,
) -> TrainState:
  """Trains to the last step, with logs, checkpoints and what is due midway."""
  config, end = exp.config, config_lib.last_step(exp.config)
  wait = mesh_lib.must_wait(exp.mesh)
  phase_start = None
  for step in range(int(state.step), end):
    with log.waiting_for_data():
      with registry.within("config", "data"):
        ready = next(batches)
      batch = mesh_lib.put_batch(exp.mesh, ready)
    if phase_start != exp.method.phase_start(step):
      log.flush()  # the metrics of another phase may have other names
      phase_start = exp.method.phase_start(step)
      train_step = _compile(exp, phase_start, state, batch)
      log.start()
    state, metrics = train_step(state, batch)
    if wait:
      jax.block_until_ready(metrics)
    log.add(metrics)
    done = step + 1
    save = _is_due(config.checkpoint.every_steps, done, end)
    due = [function for every, function in midway if done < end and _is_due(every, done, end)]
    if save or due or _is_due(config.log_every_steps, done, end):
      log.flush()  # a state with a non-finite loss behind it is neither saved nor evaluated
    with log.paused():
      if save:
        checkpoints.save(state)
      for function in due:
        function(state)
  return state


def _open_writer(workdir: pathlib.Path, resume_step: int) -> contextlib.AbstractContextManager:
  """The writer of this run's metrics; None on all processes but the main one."""
  if not mesh_lib.is_main_process():
    return contextlib.nullcontext()
  return MetricWriter(workdir, resume_step=resume_step)


def train(config: config_lib.ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Runs `config` in `workdir` from where it stands to its end, and evaluates it.

  Args:
    config: Of one stage.
    workdir: Folder of the run; the same call again continues it.

  Returns:
    The results that are also in `results.json`.

  Raises:
    ValueError: The config does not fit itself, the data, or the run in `workdir`.
    FloatingPointError: A loss is not finite.
  """
  record.check_config(config, workdir)
  start.check_predecessors(config, workdir)
  exp = experiment.build(config)
  ready = exp.training_batches(workdir.parent)
  if not start.has_checkpoints(workdir):
    with registry.within("config", "data"):
      batch = ready[0]
    dry_run.training(exp, mesh_lib.put_batch(exp.mesh, batch))
  dry_run.evaluation(exp)
  workdir.mkdir(parents=True, exist_ok=True)
  say(exp.summary())
  with (
    start.open_checkpoints(workdir, config.checkpoint.keep) as checkpoints,
    _open_writer(workdir, checkpoints.latest_step() or 0) as writer,
  ):
    state = start.begin(exp, checkpoints, workdir)
    if checkpoints.latest_step() is None:
      state = source_pass.run(exp, state)
      pictures.start(exp, state, workdir)
    record.write(config, workdir, state.student["params"])
    first, end = int(state.step), config_lib.last_step(config)
    if first >= end and checkpoints.latest_step() is None:
      raise ValueError(
        f"config.init_from = {config.init_from!r} stands at step {first}, this run ends at {end}: "
        "nothing would be trained; raise config.num_steps."
      )
    if first < end:
      say(f"training from step {first} to {end} in {workdir}")
    log = StepLog(exp.schedule, writer, first, end, images_per_step=2 * config.batch_size)
    midway = (
      (config.eval.every_steps, lambda state: results.report_midway(exp, state, writer)),
      (config.eval.every_steps, lambda state: pictures.evaluated(state, workdir)),
      (config.views_every_steps, lambda state: pictures.midway(exp, state, workdir, writer)),
    )
    if checkpoints.latest_step() is not None:
      _catch_up(state, end, midway, workdir)
    batches = pipeline.iterate(ready, first, num_threads=config.data.num_threads)
    try:
      state = _loop(exp, state, batches, log, checkpoints, midway)
    finally:
      batches.close()
    checkpoints.wait()
    return results.write(exp, state, workdir, writer)


def trained(
  config: config_lib.ConfigDict, workdir: pathlib.Path
) -> tuple[experiment.Experiment, TrainState]:
  """The run of `config` with the state of the newest checkpoint in `workdir`.

  Where nothing is trained yet, the networks are those of `config.init_weights`.

  Raises:
    ValueError: There is neither, or the checkpoint is of another config.
  """
  if not start.has_checkpoints(workdir) and not start.starts_from_file(config):
    raise ValueError(
      f"no checkpoints in {workdir}: train there first, correct --workdir, or name a file in "
      "config.init_weights."
    )
  record.check_config(config, workdir)
  exp = experiment.build(config)
  dry_run.evaluation(exp)
  state = exp.initial_state()
  if start.has_checkpoints(workdir):
    with start.open_checkpoints(workdir) as checkpoints:
      state = checkpoints.restore(state)
  else:
    workdir.mkdir(parents=True, exist_ok=True)
    state = start.from_file(exp, state, workdir)
    record.write(config, workdir, state.student["params"])
  return exp, state


def evaluate(config: config_lib.ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Evaluates the networks that `trained` finds; arguments and result as in `train`."""
  exp, state = trained(config, workdir)
  return results.write(exp, state, workdir)


def export_weights(config: config_lib.ConfigDict, workdir: pathlib.Path) -> list[pathlib.Path]:
  """Writes both networks of the newest checkpoint with the names of the reference implementations.

  Args:
    config: Of the run.
    workdir: Its folder, where `student.safetensors` and `teacher.safetensors` appear.

  Returns:
    The two files.

  Raises:
    ValueError: There is no checkpoint, or it is of another config.
  """
  if not start.has_checkpoints(workdir):
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  record.check_config(config, workdir)
  exp = experiment.build(config)
  state, written = exp.initial_state(), []
  with start.open_checkpoints(workdir) as checkpoints:
    template = {name: getattr(state, name) for name in ("step", "student", "teacher")}
    found = checkpoints.restore_part(template)
  for network in ("student", "teacher") if mesh_lib.is_main_process() else ():
    path = workdir / f"{network}.safetensors"
    texts = {"network": network, "step": str(found["step"])}
    texts |= {name: str(config.model[name]) for name in ("encoder", "decoder")}
    weights.save(found[network], path, texts)
    say(f"{network} after {found['step']} steps: {path}")
    written.append(path)
  return written
