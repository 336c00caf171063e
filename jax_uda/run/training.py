"""One run: start or continue, train, evaluate."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grain
import jax
import jax.stages

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import registry
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.models import licences, weights
from jax_uda.models.layers.lora import LoRA
from jax_uda.run import checkpoint, dry_run, experiment, record, results, source_pass, start
from jax_uda.run import config as config_lib
from jax_uda.run import settings as settings_lib
from jax_uda.run.experiment import Experiment
from jax_uda.run.report import figures
from jax_uda.run.report.runs import NETWORKS
from jax_uda.run.report.writer import MetricWriter, has_scores
from jax_uda.run.settings import RunSettings
from jax_uda.run.step_log import StepLog
from jax_uda.step.learner import Learner
from jax_uda.step.state import TrainState


class Periodic(NamedTuple):
  """What is done with the state every so many steps; None: only at the end of the run."""

  every_steps: int | None
  function: Callable[[TrainState], None]


def train(config: config_lib.ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Runs `config` in `workdir` from where it stands to its end, and evaluates it.

  Args:
    config: The config of one run or of one stage.
    workdir: Folder of the run; the same call again continues it.

  Returns:
    The results that are also in `results.json`.

  Raises:
    ValueError: The config does not fit itself, the data, or the run in `workdir`.
    FloatingPointError: A loss is not finite.
  """
  record.check_config(config, workdir)
  with registry.within("config"):
    settings = settings_lib.from_config(config)
    start.check_predecessors(settings.start, workdir)
  exp = experiment.build(config)
  with registry.within("config"):
    ready = exp.training_batches(workdir.parent)
  if not start.has_checkpoints(workdir):
    with registry.within("config", "data"):
      batch = ready[0]
    dry_run.training(exp, mesh_lib.put_batch(exp.learner.mesh, batch))
  dry_run.evaluation(exp)
  workdir.mkdir(parents=True, exist_ok=True)
  say(experiment.summary(exp))
  with (
    start.open_checkpoints(workdir, settings.checkpoint.keep) as checkpoints,
    _open_writer(workdir, checkpoints.latest_step() or 0) as writer,
  ):
    state = _first_state(exp, checkpoints, workdir)
    record.write(config, workdir, state.variables("student")["params"])
    record.write_classes(workdir, exp.domains.label_space, exp.domains.target_val)
    _check_steps_left(exp.settings, state, checkpoints)
    state = _train_to_the_end(exp, state, ready, checkpoints, workdir, writer)
    checkpoints.wait()
    scores = results.write(exp, state, workdir, writer)
    figures.draw_at_end(exp, state, workdir, writer)
    return scores


def trained(config: config_lib.ConfigDict, workdir: pathlib.Path) -> tuple[Experiment, TrainState]:
  """The run of `config` with the state of the newest checkpoint in `workdir`.

  Where nothing is trained yet, the networks are those of `config.init_weights`.

  Raises:
    ValueError: There is neither, or the checkpoint is of another config.
  """
  with registry.within("config"):
    settings = settings_lib.start_of(config)
  if not start.has_checkpoints(workdir) and not start.starts_from_file(settings):
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
    with registry.within("config"):
      state = start.from_file(exp, state, workdir)
    record.write(config, workdir, state.variables("student")["params"])
    record.write_classes(workdir, exp.domains.label_space, exp.domains.target_val)
  return exp, state


def evaluate(config: config_lib.ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Evaluates the networks that `trained` returns and draws them.

  Args:
    config: The config of one run or of one stage.
    workdir: Folder of the run.

  Returns:
    The results that are also in `results.json`.

  Raises:
    ValueError: There is nothing to evaluate, or the checkpoint is of another config.
  """
  exp, state = trained(config, workdir)
  scores = results.write(exp, state, workdir)
  figures.draw_at_end(exp, state, workdir)
  return scores


def export_weights(config: config_lib.ConfigDict, workdir: pathlib.Path) -> list[pathlib.Path]:
  """Writes both networks of the newest checkpoint with the names of the reference implementations.

  Args:
    config: The config of one run or of one stage.
    workdir: Folder of the run, where `student.safetensors` and `teacher.safetensors` appear.

  Returns:
    The two files; none on other processes than the main one.

  Raises:
    ValueError: There is no checkpoint, or it is of another config.
  """
  if not start.has_checkpoints(workdir):
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  record.check_config(config, workdir)
  exp = experiment.build(config)
  state = exp.initial_state()
  with start.open_checkpoints(workdir) as checkpoints:
    template = {name: state.variables(name) for name in NETWORKS}
    saved = checkpoints.restore_part({"step": state.step, **template})
  paths = []
  for network in NETWORKS if mesh_lib.is_main_process() else ():
    path = workdir / f"{network}.safetensors"
    texts = {"network": network, "step": str(saved["step"])}
    texts |= {"encoder": exp.settings.encoder, "decoder": exp.settings.decoder}
    if exp.settings.start.init_weights or exp.settings.start.init_from:
      texts["licence"] = licences.licence_of(exp.settings.encoder).name
    weights.save(_merged(exp, saved[network]), path, texts)
    say(f"{network} after {saved['step']} steps: {path}")
    paths.append(path)
  return paths


def _merged(exp: Experiment, variables: dict[str, Any]) -> dict[str, Any]:
  """The variables with LoRA merged into the weights that it adapts."""
  adapter = getattr(getattr(exp.learner.model, "encoder", None), "adapter", None)
  if not isinstance(adapter, LoRA):
    return variables
  return {**variables, "params": adapter.merge(jax.device_get(variables["params"]))}


def _open_writer(
  workdir: pathlib.Path, resume_step: int
) -> contextlib.AbstractContextManager[MetricWriter | None]:
  """The writer of this run's metrics; None on all processes but the main one."""
  if not mesh_lib.is_main_process():
    return contextlib.nullcontext()
  return MetricWriter(workdir, resume_step=resume_step)


def _first_state(
  exp: Experiment, checkpoints: checkpoint.Checkpoints, workdir: pathlib.Path
) -> TrainState:
  """The state from which this call trains on; a new run also prepares its objectives."""
  with registry.within("config"):
    state = start.restore_or_initialise(exp, checkpoints, workdir)
  if checkpoints.latest_step() is None:
    batch_size = exp.settings.evaluation.batch_size
    state = source_pass.run(exp.learner, state, exp.domains.source_train, batch_size)
    figures.keep_first_embeddings(exp, state, workdir)
  return state


def _check_steps_left(
  settings: RunSettings, state: TrainState, checkpoints: checkpoint.Checkpoints
) -> None:
  """Raises SettingError for a new run that starts from another run at or behind its own end."""
  step, end = int(state.step), settings.end_step
  if step >= end and checkpoints.latest_step() is None:
    raise SettingError(
      ("config", "init_from"),
      f"= {settings.start.init_from!r} stands at step {step}, this run ends at {end}: "
      "nothing would be trained; raise config.num_steps.",
    )


def _train_to_the_end(
  exp: Experiment,
  state: TrainState,
  ready: grain.MapDataset,
  checkpoints: checkpoint.Checkpoints,
  workdir: pathlib.Path,
  writer: MetricWriter | None,
) -> TrainState:
  """Trains from the step of `state` to the last one, with everything that happens on the way."""
  settings = exp.settings
  first, end = int(state.step), settings.end_step
  if first < end:
    say(f"training from step {first} to {end} in {workdir}")
  every_evaluation = settings.evaluation.every_steps
  periodic = (
    Periodic(every_evaluation, lambda state: results.report_midway(exp, state, writer)),
    Periodic(every_evaluation, lambda state: figures.note_prototypes(state, workdir)),
    Periodic(
      settings.figures.views_every_steps,
      lambda state: figures.draw_views(exp, state, workdir, writer),
    ),
  )
  if checkpoints.latest_step() is not None:
    _catch_up(state, end, periodic, workdir)
  log = StepLog(exp.learner.schedule, writer, first, end, images_per_step=2 * settings.batch_size)
  batches = pipeline.iterate(ready, first, num_threads=settings.data.num_threads)
  try:
    return _loop(exp.learner, settings, state, batches, log, checkpoints, periodic)
  finally:
    batches.close()


def _is_due(every_steps: int | None, step: int, end: int) -> bool:
  return step == end or bool(every_steps and step % every_steps == 0)


def _catch_up(
  state: TrainState, end: int, periodic: tuple[Periodic, ...], workdir: pathlib.Path
) -> None:
  """Runs the evaluations that were due at the latest checkpoint but were interrupted."""
  step = int(state.step)
  if step < end and not has_scores(workdir, step):
    for every_steps, function in periodic:
      if _is_due(every_steps, step, end):
        function(state)


def _loop(
  learner: Learner,
  settings: RunSettings,
  state: TrainState,
  batches: Iterator[Any],
  log: StepLog,
  checkpoints: checkpoint.Checkpoints,
  periodic: tuple[Periodic, ...],
) -> TrainState:
  """Trains to the last step, with logs, checkpoints and what is due on the way."""
  end, wait = settings.end_step, mesh_lib.must_wait(learner.mesh)
  phase = train_step = None
  for step in range(int(state.step), end):
    with log.waiting_for_data(), registry.within("config", "data"):
      batch = mesh_lib.put_batch(learner.mesh, next(batches))
    if train_step is None or phase != learner.method.phase(step):
      log.flush()  # the metrics of another phase may have other names
      phase = learner.method.phase(step)
      train_step = _compile(learner, phase, state, batch)
      log.start()
    state, metrics = train_step(state, batch)
    if wait:
      jax.block_until_ready(metrics)
    log.add(metrics)
    done = step + 1
    save = _is_due(settings.checkpoint.every_steps, done, end)
    due = [
      function
      for every_steps, function in periodic
      if done < end and _is_due(every_steps, done, end)
    ]
    if save or due or _is_due(settings.log_every_steps, done, end):
      log.flush()  # a state with a non-finite loss behind it is neither saved nor evaluated
    with log.paused():
      if save:
        checkpoints.save(state)
      for function in due:
        function(state)
  return state


def _compile(learner: Learner, phase: int, state: TrainState, batch: Any) -> jax.stages.Compiled:
  """Compiles the step of a phase ahead of time and says what it needs."""
  began = time.perf_counter()
  step = learner.step_of(phase).lower(state, batch).compile()
  seconds = time.perf_counter() - began
  memory = step.memory_analysis()
  mib = lambda size: f"{size / 2**20:.0f} MiB"
  say(
    f"step compiled in {seconds:.1f} s; each device needs {mib(memory.argument_size_in_bytes)} for "
    f"state and batch and {mib(memory.temp_size_in_bytes)} for temporaries"
  )
  return step
