"""One run: start or continue, train, evaluate."""

import contextlib
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp

from jax_uda import (
  checkpoint,
  experiment,
  options,
  record,
  rehearsal,
  results,
  survey,
  visuals,
)
from jax_uda import config as config_lib
from jax_uda import mesh as mesh_lib
from jax_uda.data import pipeline
from jax_uda.models import weights
from jax_uda.report.writer import MetricWriter
from jax_uda.state import TrainState, encoder_variables
from jax_uda.step_log import StepLog

# By config.init_carry: what is taken over of the state of config.init_from.
CARRIED = {"weights": ("student",), "run": ("step", "student", "teacher", "opt_state")}

say = lambda text: print(text, flush=True)


def last_step(config: config_lib.ConfigDict) -> int:
  """The number of steps after which a run ends."""
  return config.stop_step or config.num_steps


def open_checkpoints(workdir: pathlib.Path, keep: int = 2) -> checkpoint.Checkpoints:
  """The checkpoints of the run in `workdir`."""
  return checkpoint.Checkpoints(workdir / "checkpoints", keep)


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether a run in `workdir` got as far as to save something."""
  return (workdir / "checkpoints").is_dir()


def starts_from_file(config: config_lib.ConfigDict) -> bool:
  """Whether a run's networks start from `config.init_weights`."""
  return bool(config.init_weights and not config.init_from)


def _start(
  exp: experiment.Experiment, checkpoints: checkpoint.Checkpoints, workdir: pathlib.Path
) -> TrainState:
  """This run's newest checkpoint, or the start that the config asks for."""
  state = exp.initial_state()
  if checkpoints.latest_step() is not None:
    return checkpoints.restore(state)
  if starts_from_file(exp.config):
    return _from_file(exp, state, workdir)
  if exp.config.init_from:
    with _other_run(exp.config, "init_from", workdir) as others:
      state = _carry_over(state, others, exp.config.init_carry)
  if exp.config.init_player:
    with _other_run(exp.config, "init_player", workdir) as others:
      state = _carry_player(state, others)
  return state


def _check_predecessors(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Raises ValueError if a run that is to begin with another has none to begin with."""
  options.lookup(CARRIED, config.init_carry, "init_carry")
  for field in ("init_from", "init_player") if not has_checkpoints(workdir) else ():
    folder = workdir.parent / config[field]
    if config[field] and not has_checkpoints(folder):
      raise ValueError(
        f"config.{field} = {config[field]!r}: no checkpoints in {folder}; run it first."
      )


@contextlib.contextmanager
def _other_run(
  config: config_lib.ConfigDict, field: str, workdir: pathlib.Path
) -> Iterator[checkpoint.Checkpoints]:
  """The checkpoints of the run that `config.<field>` names."""
  with open_checkpoints(workdir.parent / config[field]) as others:
    try:
      yield others
    except checkpoint.CheckpointError as error:
      raise ValueError(f"config.{field} = {config[field]!r}: {error}") from error


def _carry_over(state: TrainState, others: checkpoint.Checkpoints, carry: str) -> TrainState:
  """`state` with what `config.init_carry` takes from another run's newest checkpoint."""
  wanted = CARRIED[carry]
  if carry == "run":
    found = others.restore_part({name: getattr(state, name) for name in wanted})
    return _all_at(state, found["student"]).replace(**found)
  found, missing = _other_affine(others, *others.restore_shared({"student": state.student}))
  strange = [path for path in missing if "/heads_" not in path]
  if strange:
    raise ValueError(
      f"config.init_from: the run in {others.folder.parent} has another network; {len(strange)} "
      f"variables are not in it, the first is {strange[0]}."
    )
  heads = sorted({path.split("/")[2].removeprefix("heads_") for path in missing})
  if heads:
    say(f"new heads, not in {others.folder.parent}: {', '.join(heads)}")
  return _all_at(state, found["student"])


def _other_affine(
  others: checkpoint.Checkpoints, found: dict[str, Any], missing: list[str]
) -> tuple[dict[str, Any], list[str]]:
  """Scales and biases of BatchNorm, if trained here but constants there (`batch_stats`) or vice versa."""
  swap = {"params": "batch_stats", "batch_stats": "params"}
  elsewhere = {}
  for path in missing:
    field, collection, *rest = path.split("/")
    if rest[-1] in ("scale", "bias"):
      elsewhere["/".join((field, swap[collection], *rest))] = path
  if not elsewhere:
    return found, missing
  flatten, unflatten = flax.traverse_util.flatten_dict, flax.traverse_util.unflatten_dict
  flat = flatten(found, sep="/")
  wanted = {there: flat[here] for there, here in elsewhere.items()}
  moved, absent = others.restore_shared(unflatten(wanted, sep="/"))
  moved = {there: value for there, value in flatten(moved, sep="/").items() if there not in absent}
  flat |= {elsewhere[there]: value for there, value in moved.items()}
  here = {elsewhere[there] for there in moved}
  return unflatten(flat, sep="/"), [path for path in missing if path not in here]


def _carry_player(state: TrainState, others: checkpoint.Checkpoints) -> TrainState:
  """`state` with the networks of another run's second player, as far as this run has them."""
  if state.player is None:
    raise ValueError("config.init_player: this method has no second player; leave it empty.")
  found, missing = others.restore_shared({"player": {"params": state.player["params"]}})
  if len(missing) == len(jax.tree.leaves(state.player["params"])):
    raise ValueError(
      f"config.init_player: the run in {others.folder.parent} has no such player; name one whose "
      "method trains it."
    )
  return state.replace(player={**state.player, **found["player"]})


def _from_file(exp: experiment.Experiment, state: TrainState, workdir: pathlib.Path) -> TrainState:
  """`state` with the weights of `config.init_weights`; noted in `workdir`."""
  try:
    student, loaded = weights.load(
      state.student, exp.config.init_weights, network=exp.config.init_network
    )
  except ValueError as error:
    raise ValueError(f"config.init_weights: {error}") from None
  say(f"weights: {loaded}")
  record.write_weights(workdir, loaded)
  return _all_at(state, jax.device_put(student, mesh_lib.replicated(exp.mesh)))


def _all_at(state: TrainState, student: dict[str, Any]) -> TrainState:
  """`state` with all networks at `student`: the frozen one is that which a run starts from."""
  copy = lambda tree: jax.tree.map(jnp.copy, tree)
  reference = None if state.reference is None else copy(encoder_variables(student))
  return state.replace(student=student, teacher=copy(student), reference=reference)


def _compile(
  exp: experiment.Experiment, phase_start: int, state: TrainState, batch: Any
) -> Callable:
  """Compiles the step ahead of time and says what it needs."""
  start = time.perf_counter()
  step = exp.train_step(phase_start).lower(state, batch).compile()
  seconds = time.perf_counter() - start
  memory = step.memory_analysis()
  mib = lambda size: f"{size / 2**20:.0f} MiB"
  say(
    f"step compiled in {seconds:.1f} s; each device needs {mib(memory.argument_size_in_bytes)} for "
    f"state and batch and {mib(memory.temp_size_in_bytes)} for temporaries"
  )
  return step


def _loop(
  exp: experiment.Experiment,
  state: TrainState,
  batches: Iterator[Any],
  log: StepLog,
  checkpoints: checkpoint.Checkpoints,
  midway: Sequence[tuple[int, Callable[[TrainState], None]]],
) -> TrainState:
  """Trains to the last step, with logs and checkpoints, and what `midway` asks for every so many steps."""
  config, end = exp.config, last_step(exp.config)
  wait = mesh_lib.must_wait(exp.mesh)
  phase_start = None
  for step in range(int(state.step), end):
    with log.waiting_for_data():
      batch = mesh_lib.put_batch(exp.mesh, next(batches))
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
    due = lambda every, done=done: done == end or (every and done % every == 0)
    if due(config.log_every_steps):
      log.flush()
    if due(config.checkpoint.every_steps):
      log.flush()  # a state with a non-finite loss behind it is not saved
      checkpoints.save(state)
    for every, function in midway if done < end else ():
      if due(every):
        with log.paused():
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
  _check_predecessors(config, workdir)
  exp = experiment.build(config)
  ready = exp.training_batches(workdir.parent)
  if not has_checkpoints(workdir):
    rehearsal.training(exp, mesh_lib.put_batch(exp.mesh, ready[0]))
  rehearsal.evaluation(exp)
  workdir.mkdir(parents=True, exist_ok=True)
  say(exp.summary())
  with (
    open_checkpoints(workdir, config.checkpoint.keep) as checkpoints,
    _open_writer(workdir, checkpoints.latest_step() or 0) as writer,
  ):
    state = _start(exp, checkpoints, workdir)
    if checkpoints.latest_step() is None:
      state = survey.run(exp, state)
      visuals.start(exp, state, workdir)
    record.write(config, workdir, state.student["params"])
    first, end = int(state.step), last_step(config)
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
      (config.eval.every_steps, lambda state: visuals.evaluated(state, workdir)),
      (config.views_every_steps, lambda state: visuals.midway(exp, state, workdir, writer)),
    )
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
  if not has_checkpoints(workdir) and not starts_from_file(config):
    raise ValueError(
      f"no checkpoints in {workdir}: train there first, correct --workdir, or name a file in "
      "config.init_weights."
    )
  record.check_config(config, workdir)
  exp = experiment.build(config)
  rehearsal.evaluation(exp)
  state = exp.initial_state()
  if has_checkpoints(workdir):
    with open_checkpoints(workdir) as checkpoints:
      state = checkpoints.restore(state)
  else:
    workdir.mkdir(parents=True, exist_ok=True)
    state = _from_file(exp, state, workdir)
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
  if not has_checkpoints(workdir):
    raise ValueError(f"no checkpoints in {workdir}: train there first, or correct --workdir.")
  record.check_config(config, workdir)
  exp = experiment.build(config)
  state, written = exp.initial_state(), []
  with open_checkpoints(workdir) as checkpoints:
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
