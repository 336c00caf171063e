"""Checkpoints of a run with a frozen encoder: they hold what trains, and the encoder lies beside them once."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct, traverse_util
from jax.experimental import multihost_utils

from jax_uda.common import mesh as mesh_lib
from jax_uda.run import checkpoint
from jax_uda.run.saved_state import SavedState
from jax_uda.step import shared
from jax_uda.step.state import TrainState

FOLDER = "frozen"  # beside the folder of the checkpoints
NETWORKS = ("student", "teacher")


class _Stored(struct.PyTreeNode):
  """What lies in the folder, as a checkpoint of step 0."""

  step: Any
  variables: dict[str, Any]


class RunCheckpoints(checkpoint.Checkpoints):
  """The checkpoints of a run. Without a frozen encoder they are those of the base class.

  With one, whoever reads the student or the teacher asks for all variables of the network.

  Attributes:
    run: Folder of the run.
  """

  def __init__(self, run: pathlib.Path, keep: int | None = 2, folder: pathlib.Path | None = None):
    """Opens the checkpoints of a run; the encoder lies once, whatever the number of folders.

    Args:
      run: Folder of the run.
      keep: As `Checkpoints`: how many stay; None: they are read and nothing is changed.
      folder: Where they lie, e.g. that of the best one; `checkpoints` of the run if not given.
    """
    super().__init__(folder or run / "checkpoints", keep)
    self.run = pathlib.Path(run).absolute()
    self._frozen_folder, self._is_kept = self.run / FOLDER, False

  def save(self, state: TrainState) -> None:
    """Starts writing `state` without what is frozen, which the first call writes beside it.

    Raises:
      CheckpointError: A write failed, or the run's other checkpoints are of another frozen encoder.
    """
    if _has_frozen(state):
      if not self._is_kept:
        self._keep_frozen(_Stored(jnp.int32(0), state.reference or {}))
      self._is_kept = True
      state = state.replace(reference=None)
    super().save(state)

  def _keep_frozen(self, stored: _Stored) -> None:
    """Writes what is frozen if it is not there; what a removed run left there goes."""
    folder = self._frozen_folder
    if checkpoint.saved_steps(folder) and not SavedState(folder / "0").holds(stored):
      if checkpoint.saved_steps(self.run / "checkpoints") or self.steps():
        raise checkpoint.CheckpointError(
          f"{folder} holds another encoder than this run has, or is damaged, and the checkpoints in {self.run} "
          "need it: put that folder back, or use a new --workdir."
        )
      if mesh_lib.is_main_process():
        shutil.rmtree(folder)
      if jax.process_count() > 1:
        multihost_utils.sync_global_devices("another frozen encoder is removed")
    with checkpoint.Checkpoints(folder, keep=1) as frozen:
      frozen.save(stored)

  def restore(self, template: TrainState, step: int | None = None) -> TrainState:
    """Reads a checkpoint, and what is frozen, into the structure of `template`."""
    if not _has_frozen(template):
      return super().restore(template, step)
    state = super().restore(template.replace(reference=None), step)
    with checkpoint.Checkpoints(self._frozen_folder, keep=None) as frozen:
      part = frozen.restore_part({"variables": template.reference})
    self._is_kept = True
    return state.replace(reference=part["variables"])

  def restore_part(self, template: dict[str, Any]) -> dict[str, Any]:
    """Reads some fields of the newest checkpoint; networks with what is frozen."""
    frozen, rest = self._take_frozen(template)
    return shared.merge(frozen, super().restore_part(rest))

  def restore_shared(
    self,
    template: dict[str, Any],
    other_name: Callable[[checkpoint.Path], checkpoint.Path | None] = lambda path: None,
  ) -> tuple[dict[str, Any], list[str]]:
    """Reads those variables that the newest checkpoint or the frozen encoder has."""
    frozen, rest = self._take_frozen(template, other_name)
    restored, missing = super().restore_shared(rest, other_name)
    return shared.merge(frozen, restored), missing

  def _take_frozen(
    self,
    template: dict[str, Any],
    other_name: Callable[[checkpoint.Path], checkpoint.Path | None] = lambda path: None,
  ) -> tuple[dict[str, Any], dict[str, Any]]:
    """The networks' frozen variables as they were saved, and what of the template is not frozen."""
    networks = [name for name in NETWORKS if name in template]
    if not networks or not checkpoint.saved_steps(self._frozen_folder):
      return {}, template
    with checkpoint.Checkpoints(self._frozen_folder, keep=None) as stored:
      values, missing = stored.restore_shared({"variables": template[networks[0]]}, other_name)
    flat = traverse_util.flatten_dict(values["variables"], sep="/")
    left = {path.removeprefix("variables/") for path in missing}
    frozen = traverse_util.unflatten_dict(
      {path: value for path, value in flat.items() if path not in left}, sep="/"
    )
    kept = {}
    for name in networks:
      network = traverse_util.flatten_dict(template[name], sep="/")
      inner = {path: value for path, value in network.items() if path in left}
      kept[name] = traverse_util.unflatten_dict(inner, sep="/")
    return dict.fromkeys(networks, frozen), {**template, **kept}


def _has_frozen(state: Any) -> bool:
  """Whether the state's reference is what its networks share."""
  reference = getattr(state, "reference", None)
  return reference is not None and shared.has_shared(reference, state.student)
