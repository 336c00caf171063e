"""How a run begins: with its own checkpoint, another run's networks, or a weight file."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import registry
from jax_uda.models import weights
from jax_uda.run import checkpoint, experiment, record
from jax_uda.run import config as config_lib
from jax_uda.step.state import TrainState, encoder_variables

# By config.init_carry: what is taken over of the state of config.init_from.
CARRIED = {"weights": ("student",), "run": ("step", "student", "teacher", "opt_state")}

say = lambda text: print(text, flush=True)


def open_checkpoints(workdir: pathlib.Path, keep: int = 2) -> checkpoint.Checkpoints:
  """The checkpoints of the run in `workdir`."""
  return checkpoint.Checkpoints(workdir / "checkpoints", keep)


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether a run in `workdir` got as far as to save something."""
  return bool(checkpoint.saved_steps(workdir / "checkpoints"))


def starts_from_file(config: config_lib.ConfigDict) -> bool:
  """Whether a run's networks start from `config.init_weights`."""
  return bool(config.init_weights and not config.init_from)


def begin(
  exp: experiment.Experiment, checkpoints: checkpoint.Checkpoints, workdir: pathlib.Path
) -> TrainState:
  """This run's newest checkpoint, or the start that the config asks for."""
  state = exp.initial_state()
  if checkpoints.latest_step() is not None:
    return checkpoints.restore(state)
  if starts_from_file(exp.config):
    state = from_file(exp, state, workdir)
  elif exp.config.init_from:
    with _other_run(exp.config, "init_from", workdir) as others:
      state = _carry_over(state, others, exp.config.init_carry)
  if exp.config.init_player:
    with _other_run(exp.config, "init_player", workdir) as others:
      state = _carry_player(state, others)
  return state


def check_predecessors(config: config_lib.ConfigDict, workdir: pathlib.Path) -> None:
  """Raises ValueError if a run that is to begin with another has none to begin with."""
  registry.lookup(CARRIED, config.init_carry, "init_carry")
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


def from_file(exp: experiment.Experiment, state: TrainState, workdir: pathlib.Path) -> TrainState:
  """`state` with the weights of `config.init_weights`; noted in `workdir`."""
  try:
    student, loaded = weights.load(
      state.student, exp.config.init_weights, network=exp.config.init_network
    )
  except registry.SettingError as error:
    raise registry.SettingError("config.init_network", error.message) from None
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
