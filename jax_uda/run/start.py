"""How a run begins. Four starts are possible, and one continuation:

  its own newest checkpoint       the run continues; nothing else is read
  random networks                 the default, or said so where a recipe asks for weights
  a weight file                   `init_weights`: all networks start from it
  another run's student           `init_from` with `init_carry="weights"`, at step 0; of the checkpoint
                                  that the other run reports
  another run, continued          `init_from` with `init_carry="run"`: step, networks and optimizer of its
                                  last checkpoint

Beside any start, `init_auxiliary` takes over the auxiliary networks of a further run.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import jax

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.adapter_paths import is_adapter
from jax_uda.common.log import say
from jax_uda.common.registry import SettingError
from jax_uda.models import weights
from jax_uda.models.weights import known
from jax_uda.run import best_checkpoint, checkpoint, record
from jax_uda.run.experiment import Experiment
from jax_uda.run.frozen import RunCheckpoints
from jax_uda.run.settings import CARRIED, RANDOM, RunSettings, StartSettings
from jax_uda.step.shared import FOUNDATION
from jax_uda.step.state import TrainState, networks_at

_ABOUT_FOUNDATION = (
  "is empty, but this method compares with a frozen foundation model: say --config=RECIPE:foundation=FILE "
  "or --config.method.foundation.weights=FILE, with random in place of FILE if you mean a random one."
)


def open_checkpoints(workdir: pathlib.Path, keep: int = 2) -> RunCheckpoints:
  """The checkpoints of the run in `workdir`, to continue it."""
  return RunCheckpoints(workdir, keep)


def read_checkpoints(workdir: pathlib.Path) -> RunCheckpoints:
  """The checkpoints of the run in `workdir`, which stay as they are."""
  return RunCheckpoints(workdir, keep=None)


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether a run in `workdir` got as far as to save something."""
  return bool(checkpoint.saved_steps(workdir / "checkpoints"))


def starts_from_file(settings: StartSettings) -> bool:
  """Whether a run's networks start from a weight file."""
  return bool(settings.init_weights and not settings.init_from)


def check(settings: RunSettings, workdir: pathlib.Path) -> None:
  """Refuses a run without what it is to start from, before its data are prepared.

  Raises:
    SettingError: There is no such run or weight file, or the recipe asks for a file and none is named.
  """
  if has_checkpoints(workdir):
    return
  begin = settings.start
  if begin.init_missing:
    raise SettingError(
      "init_weights",
      f"is empty, but this recipe starts from pretrained weights ({known.file_for(settings.encoder)}): say "
      "--config=RECIPE:weights=FILE or --config.init_weights=FILE, with random in place of FILE if you mean "
      "random networks.",
    )
  if starts_from_file(begin):
    with _about_file(settings.encoder):
      weights.find(str(begin.init_weights))
  if begin.foundation_missing:
    raise SettingError("method.foundation.weights", _ABOUT_FOUNDATION)
  if begin.foundation_weights:
    with _about_foundation():
      weights.find(begin.foundation_weights)
  for field, name in (("init_from", begin.init_from), ("init_auxiliary", begin.init_auxiliary)):
    if name and not has_checkpoints(workdir.parent / name):
      raise SettingError(field, f"= {name!r}: {without_checkpoints(name, workdir)}")


def without_checkpoints(name: str, workdir: pathlib.Path) -> str:
  """What to do about a run without checkpoints from which another is to start, as the end of a sentence.

  Args:
    name: The run: its folder, absolute or beside `workdir`.
    workdir: The folder of the run that is to start.
  """
  folder = workdir.parent / name
  text = f"no checkpoints in {folder}; "
  if folder.exists() or not pathlib.Path(name).is_absolute():
    return f"{text}run it first."
  if has_checkpoints(workdir.parent / folder.name):
    return f"{text}if that run is the one that lies beside {workdir} now, say {folder.name!r}."
  return (
    f"{text}if that run was moved, name its new folder, absolute or relative to {workdir.parent}."
  )


def restore_or_initialise(
  exp: Experiment, checkpoints: checkpoint.Checkpoints, workdir: pathlib.Path
) -> TrainState:
  """The state of the run's newest checkpoint or, without any, the state that the run starts from.

  Raises:
    SettingError: The run or the file to start from does not fit.
    checkpoint.CheckpointError: The run's own checkpoint cannot be read.
  """
  if checkpoints.latest_step() is not None:
    state = checkpoints.restore(exp.initial_state())
    say(f"networks: those of this run after {int(state.step)} steps")
    return state
  return initialise(exp, workdir)


def initialise(exp: Experiment, workdir: pathlib.Path) -> TrainState:
  """The state that the run in `workdir` starts from.

  Raises:
    SettingError: The run or the file to start from does not fit.
  """
  settings = exp.settings.start
  state = exp.initial_state()
  if starts_from_file(settings):
    state = from_file(exp, state, workdir)
  elif settings.init_from:
    is_continued = settings.init_carry == "run"
    with _other_run(workdir, "init_from", settings.init_from, is_continued) as others:
      what = {"run": "student and teacher", "weights": "the student"}[settings.init_carry]
      say(f"networks: {what} of the run {settings.init_from} after {others.latest_step()} steps")
      take_over = {"run": _continued, "weights": _with_weights}[settings.init_carry]
      state = take_over(exp, state, others)
    record.inherit_weights(workdir, workdir.parent / settings.init_from)
  else:
    say("networks: random")
  state = _with_foundation(exp, state)
  if settings.init_auxiliary:
    with _other_run(workdir, "init_auxiliary", settings.init_auxiliary) as others:
      state = _with_auxiliary(state, others)
  return state


def from_file(exp: Experiment, state: TrainState, workdir: pathlib.Path) -> TrainState:
  """The state with all networks at the weights of `init_weights`, which `workdir` notes.

  Raises:
    SettingError: The file cannot be read or does not fit the network, or it is not the one from which
      this run began before.
  """
  settings = exp.settings.start
  assert settings.init_weights is not None
  encoder = exp.settings.encoder
  with _about_file(encoder):
    student, loaded = weights.load(
      state.variables("student"), settings.init_weights, network=settings.init_network
    )
    record.check_same_weights(workdir, loaded)
  say(f"networks: {loaded}")
  if weights.ADAPTER in loaded.untouched and (note := _random_adapter_note(exp)):
    say(f"warning: {note}")
  record.write_weights(workdir, loaded.with_licence_of(encoder))
  student = jax.device_put(student, mesh_lib.replicated(exp.learner.mesh))
  return _all_at(exp, state, student)


def _random_adapter_note(exp: Experiment) -> str:
  """What the encoder's class says of a start with a random adapter; empty if nothing."""
  return getattr(getattr(exp.learner.model, "encoder", None), "random_adapter_note", "")


def _with_foundation(exp: Experiment, state: TrainState) -> TrainState:
  """The state with the weights of the method's foundation model, if it has one.

  Raises:
    SettingError: Its file cannot be read or does not fit.
  """
  foundation = exp.learner.method.foundation
  if foundation is None:
    return state
  if foundation.weights in ("", RANDOM):
    say(f"foundation model {foundation.encoder}: random")
    return state
  reference = state.reference or {}
  with _about_foundation(foundation.encoder):
    variables, loaded = weights.load(reference[FOUNDATION], foundation.weights)
  say(f"foundation model {foundation.encoder}: {loaded}")
  variables = jax.device_put(variables, mesh_lib.replicated(exp.learner.mesh))
  return state.replace(reference={**reference, FOUNDATION: variables})


@contextlib.contextmanager
def _about_file(encoder: str) -> Iterator[None]:
  """Names the field in errors about the weight file, and what is free where the encoder's is not."""
  try:
    yield
  except SettingError as error:  # about the argument `network` of `weights.load`
    raise SettingError("init_network", error.message) from None
  except ValueError as error:
    text = known.with_alternatives(str(error), encoder)
    raise SettingError("init_weights", f": {text}") from None


@contextlib.contextmanager
def _about_foundation(encoder: str = "") -> Iterator[None]:
  """Names the field in errors about the foundation model's weight file."""
  try:
    yield
  except ValueError as error:
    text = known.with_alternatives(str(error), encoder)
    raise SettingError("method.foundation.weights", f": {text}") from None


@contextlib.contextmanager
def _other_run(
  workdir: pathlib.Path, field: str, name: str, is_continued: bool = False
) -> Iterator[RunCheckpoints]:
  """The checkpoints of the run `name` beside `workdir`: the one that it reports or, to continue it, the last.

  Errors name the field that asked for it.
  """
  folder, title = best_checkpoint.find(workdir.parent / name, "last" if is_continued else None)
  if title != best_checkpoint.TITLES["last"]:
    say(f"config.{field} = {name!r}: its checkpoint {title} of step {folder.name}")
  with RunCheckpoints(workdir.parent / name, None, folder) as others:
    try:
      yield others
    except checkpoint.CheckpointError as error:
      raise SettingError(field, f"= {name!r}: {error}") from error


def _continued(exp: Experiment, state: TrainState, others: RunCheckpoints) -> TrainState:
  """The state with step, networks and optimizer of another run; its student is the new reference."""
  networks = {name: state.variables(name) for name in ("student", "teacher")}
  fields = {name: getattr(state, name) for name in CARRIED["run"]}
  carried = others.restore_part(fields | networks)
  teacher = _all_at(exp, state, carried.pop("teacher")).student
  started = _all_at(exp, state, carried.pop("student"))
  return started.replace(teacher=teacher, **carried)


def _with_weights(exp: Experiment, state: TrainState, others: RunCheckpoints) -> TrainState:
  """The state with all networks at another run's student; new heads and adapters stay random."""
  template = {"student": state.variables("student")}
  restored, missing = others.restore_shared(template, _other_collection)
  new_adapter = lambda path: is_adapter(path.split("/", 2)[2])
  unknown = [path for path in missing if "/heads_" not in path and not new_adapter(path)]
  if unknown:
    raise SettingError(
      "init_from",
      f": the run in {others.run} has another network; {len(unknown)} "
      f"variables are not in it, the first is {unknown[0]}.",
    )
  heads = sorted(
    {path.split("/")[2].removeprefix("heads_") for path in missing if not new_adapter(path)}
  )
  if heads:
    say(f"new heads, not in {others.run}: {', '.join(heads)}")
  if any(map(new_adapter, missing)):
    say(f"a new adapter, not in {others.run}")
  return _all_at(exp, state, restored["student"])


def _other_collection(path: checkpoint.Path) -> checkpoint.Path | None:
  """Where a network with the other kind of BatchNorm keeps a scale or a bias.

  They are `params` if they are trained, and `batch_stats` if they are constants.
  """
  field, collection, *names = path
  if names[-1:] not in (["scale"], ["bias"]):
    return None
  swapped = {"params": "batch_stats", "batch_stats": "params"}
  return (field, swapped[collection], *names)


def _with_auxiliary(state: TrainState, others: RunCheckpoints) -> TrainState:
  """The state with the auxiliary networks of another run, as far as this run has them."""
  if state.auxiliary is None:
    raise SettingError("init_auxiliary", ": this method has no auxiliary networks; leave it empty.")
  restored, missing = others.restore_shared({"auxiliary": {"params": state.auxiliary["params"]}})
  if len(missing) == len(jax.tree.leaves(state.auxiliary["params"])):
    raise SettingError(
      "init_auxiliary",
      f": the run in {others.run} has no such networks; name one whose method trains them.",
    )
  return state.replace(auxiliary={**state.auxiliary, **restored["auxiliary"]})


def _all_at(exp: Experiment, state: TrainState, variables: dict[str, Any]) -> TrainState:
  """The state with student, teacher and frozen reference at `variables`, as a run starts."""
  learner = exp.learner
  student, teacher, reference = networks_at(
    variables, learner.freeze, learner.method.uses_reference
  )
  foundation = {k: v for k, v in (state.reference or {}).items() if k == FOUNDATION}
  reference = {**(reference or {}), **foundation} or None
  return state.replace(student=student, teacher=teacher, reference=reference)
