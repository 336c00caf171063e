"""One run: start or continue, train, evaluate."""

import contextlib
import pathlib
from typing import Any

import grain
import jax

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import registry
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.data.pipeline import batching as pipeline
from jax_uda.models import weights
from jax_uda.models.layers.lora import LoRA
from jax_uda.run import (
  bad_batches,
  best_checkpoint,
  checkpoint,
  dry_run,
  experiment,
  frozen,
  interruption,
  record,
  results,
  same_inputs,
  source_pass,
  start,
)
from jax_uda.run import config as config_lib
from jax_uda.run import settings as settings_lib
from jax_uda.run.experiment import Experiment
from jax_uda.run.loop import Loop, Periodic, is_due
from jax_uda.run.report import figures
from jax_uda.run.report.writer import MetricWriter, has_scores
from jax_uda.run.settings import NETWORKS, RunSettings
from jax_uda.run.step_log import NonFinite, StepLog
from jax_uda.step.state import TrainState


def train(config: config_lib.ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Runs `config` in `workdir` from where it stands to its end, and evaluates it.

  Args:
    config: The config of one run or of one stage.
    workdir: Folder of the run; the same call again continues it.

  Returns:
    The results that are also in `results.json`.

  Raises:
    ValueError: The config does not fit itself, the data, or the run in `workdir`.
    FloatingPointError: A loss is not finite, and `config.on_nonfinite` does not say how to go on.
  """
  record.check_config(config, workdir)
  with registry.within("config"):
    settings = settings_lib.from_config(config)
    start.check(settings, workdir)
  exp = experiment.build(config)
  same_inputs.check(config.data, exp.domains.identities, workdir)
  with registry.within("config"):
    ready = exp.training_batches(workdir.parent)
  if not start.has_checkpoints(workdir):
    with registry.within("config", "data"):
      batch = ready[0]
    dry_run.training(exp, mesh_lib.put_batch(exp.learner.mesh, batch))
  dry_run.evaluation(exp)
  workdir.mkdir(parents=True, exist_ok=True)
  while True:
    try:
      return _run_to_the_end(exp, config, ready, workdir)
    except NonFinite as error:
      step, cause = error.step, str(error)
    # Outside of the handler, which holds the state in memory.
    _leave_batch_out(exp, workdir, step, cause)


def trained(config: config_lib.ConfigDict, workdir: pathlib.Path) -> tuple[Experiment, TrainState]:
  """The run of `config` with the state that it reports, as `config.report` says; prints which one.

  Where nothing is trained yet, the networks are those of `config.init_weights`.

  Raises:
    ValueError: There is neither, or the checkpoint is of another config.
  """
  exp, state = _newest(config, workdir)
  state = best_checkpoint.restore(state, workdir, exp.settings.report)
  _, title = best_checkpoint.find(workdir, exp.settings.report)
  say(f"checkpoint: {title}, step {int(state.step)}")
  return exp, state


def _newest(config: config_lib.ConfigDict, workdir: pathlib.Path) -> tuple[Experiment, TrainState]:
  """The run of `config` with its newest state.

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
  same_inputs.check(config.data, exp.domains.identities, workdir)
  dry_run.evaluation(exp)
  state = exp.initial_state()
  if start.has_checkpoints(workdir):
    with start.read_checkpoints(workdir) as checkpoints:
      state = checkpoints.restore(state)
  else:
    workdir.mkdir(parents=True, exist_ok=True)
    with registry.within("config"):
      state = start.from_file(exp, state, workdir)
    record.write(config, workdir, state.variables("student")["params"], exp.domains)
  return exp, state


def evaluate(config: config_lib.ConfigDict, workdir: pathlib.Path) -> dict[str, Any]:
  """Evaluates the newest networks and, if `config.report` says so, the best; draws those reported.

  Args:
    config: The config of one run or of one stage.
    workdir: Folder of the run.

  Returns:
    The results that are also in `results.json`.

  Raises:
    ValueError: There is nothing to evaluate, or the checkpoint is of another config.
  """
  exp, state = _newest(config, workdir)
  record.write(
    config, workdir, state.variables("student")["params"], exp.domains, only_missing=True
  )
  scores = results.write(exp, state, workdir)
  state = best_checkpoint.restore(state, workdir, exp.settings.report)
  figures.draw_at_end(exp, state, workdir)
  return scores


def export_weights(config: config_lib.ConfigDict, workdir: pathlib.Path) -> list[pathlib.Path]:
  """Writes both networks of the reported checkpoint with the names of the reference implementations.

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
  folder, title = best_checkpoint.find(workdir, exp.settings.report)
  with frozen.RunCheckpoints(workdir, None, folder) as checkpoints:
    template = {name: state.variables(name) for name in NETWORKS}
    saved = checkpoints.restore_part({"step": state.step, **template})
  say(f"checkpoint: {title}, step {int(saved['step'])}")
  paths = []
  for network in NETWORKS if mesh_lib.is_main_process() else ():
    path = workdir / f"{network}.safetensors"
    texts = {"network": network, "step": str(saved["step"])}
    texts |= {"checkpoint": title, "encoder": exp.settings.encoder, "decoder": exp.settings.decoder}
    texts |= record.origin_of_weights(workdir)
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


def _run_to_the_end(
  exp: Experiment, config: config_lib.ConfigDict, ready: grain.MapDataset, workdir: pathlib.Path
) -> dict[str, Any]:
  """Continues the run from its newest checkpoint, or begins it; returns its results."""
  stop = interruption.current()
  with start.open_checkpoints(workdir, exp.settings.checkpoint.keep) as checkpoints:
    state = _first_state(exp, checkpoints, workdir)
    with _open_writer(workdir, checkpoints.latest_step() or 0) as writer:
      record.write(config, workdir, state.variables("student")["params"], exp.domains)
      _check_steps_left(exp.settings, state, checkpoints)
      state = _train_to_the_end(exp, state, ready, checkpoints, workdir, writer)
      with stop.finishing():
        checkpoints.wait()
      stop.check()
      scores = results.write(exp, state, workdir, writer, at_end=True)
      state = best_checkpoint.restore(state, workdir, exp.settings.report)
      figures.draw_at_end(exp, state, workdir, writer)
      return scores


def _leave_batch_out(exp: Experiment, workdir: pathlib.Path, step: int, cause: str) -> None:
  """Notes a batch with a loss that is not finite, for a run that rolls back.

  Raises:
    FloatingPointError: The run is not to roll back, or has done so too often from the same checkpoint.
  """
  settings = exp.settings
  noted = bad_batches.read(workdir)
  batch = bad_batches.number_of(step, [row["batch"] for row in noted])
  names = exp.image_names(batch, workdir.parent)
  text = f"{cause} The run stopped and saved nothing since; its batch {batch} had {names}."
  saved = max(checkpoint.saved_steps(workdir / "checkpoints"), default=None)
  in_a_row = sum(row["step"] >= (saved or 0) for row in noted)
  if settings.on_nonfinite != "rollback" or in_a_row >= settings.max_skips:
    raise FloatingPointError(
      f"{text} Go on with the same command and --config.on_nonfinite=rollback (from step {saved or 0} "
      "on without this batch) or =skip (such steps change nothing), or with a lower rate from there "
      f"on, --config.schedule.scale_from='(({saved or 0}, 0.5),)'; or train anew with a lower "
      "config.schedule.learning_rate or a longer config.schedule.warmup_steps."
    )
  bad_batches.add(workdir, batch=batch, step=step, cause=cause)
  say(f"{text} It goes on from step {saved or 0} without that batch.")


def _first_state(
  exp: Experiment, checkpoints: checkpoint.Checkpoints, workdir: pathlib.Path
) -> TrainState:
  """The state from which this call trains on; a new run also prepares its objectives."""
  with registry.within("config"):
    state = start.restore_or_initialise(exp, checkpoints, workdir)  # says where networks come from
  say(experiment.summary(exp))
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
    Periodic(
      every_evaluation,
      lambda state: results.report_midway(exp, state, writer, workdir),
      is_long=True,
    ),
    Periodic(every_evaluation, lambda state: figures.note_prototypes(state, workdir)),
    Periodic(
      settings.figures.views_every_steps,
      lambda state: figures.draw_views(exp, state, workdir, writer),
    ),
  )
  if checkpoints.latest_step() is not None:
    _catch_up(state, end, periodic, workdir)
  log = StepLog(
    exp.learner.schedule,
    writer,
    first,
    end,
    images_per_step=2 * settings.batch_size,
    max_skips=settings.max_skips,
  )
  left_out = {row["batch"] for row in bad_batches.read(workdir)}
  number = bad_batches.number_of(first, left_out)
  batches = pipeline.iterate(ready, number, num_threads=settings.data.num_threads)
  loop = Loop(exp.learner, settings, log, checkpoints, periodic)
  try:
    return loop.run(state, bad_batches.without(batches, number, left_out))
  finally:
    batches.close()


def _catch_up(
  state: TrainState, end: int, periodic: tuple[Periodic, ...], workdir: pathlib.Path
) -> None:
  """Runs the evaluations that were due at the latest checkpoint but were interrupted."""
  step = int(state.step)
  if step < end and not has_scores(workdir, step):
    for item in periodic:
      if is_due(item.every_steps, step, end):
        item.function(state)
