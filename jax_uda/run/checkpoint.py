"""Checkpoints of the whole train state, through orbax, with checksums of all arrays.

A checkpoint appears under its step number only when it is complete, so a run
killed while saving continues from the one before. One that is damaged is noticed
when it is read, and the newest whole one is read instead. Nothing of the input
pipeline is saved: its position is the step.
"""

import errno
import os
import pathlib
import shutil
from collections.abc import Callable
from typing import Any, Self, TypeVar

import jax
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from jax_uda.common import disk_errors
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.run import integrity
from jax_uda.run.saved_state import (
  CHECKSUMS,
  STATE,
  CheckpointError,
  DamagedError,
  Path,
  SavedState,
  gist,
)

T = TypeVar("T")

_UNFINISHED = ".orbax-checkpoint-tmp"  # in the names of folders that are being written


def saved_steps(folder: pathlib.Path) -> list[int]:
  """The steps of the complete checkpoints in a folder, ascending; none if there is no such folder."""
  return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


def _remove_unfinished(folder: pathlib.Path) -> None:
  """Removes what a killed save left: orbax does so only where the same step is saved again."""
  for path in folder.glob(f"*{_UNFINISHED}*"):
    shutil.rmtree(path, ignore_errors=True)


class Checkpoints:
  """The checkpoints of one run, in `folder`. Use as a context manager: leaving waits for writes."""

  def __init__(self, folder: str | pathlib.Path, keep: int | None = 2):
    """Keeps the newest `keep` checkpoints; None: they are read and nothing in the folder is changed.

    A folder that is written must be this run's alone, see `workdir_lock`.
    """
    self.folder = pathlib.Path(folder).absolute()
    self._manager = None
    if keep is not None:
      if mesh_lib.is_main_process():
        _remove_unfinished(self.folder)
      options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
      self._manager = ocp.CheckpointManager(self.folder, options=options)

  def __enter__(self) -> Self:
    """Returns itself."""
    return self

  def __exit__(self, exc_type, exc, traceback) -> None:
    """Waits for writes in flight; an error of theirs does not hide the one under way."""
    if self._manager is None:
      return
    failed = exc
    try:
      self.wait()
    except CheckpointError as error:
      failed = failed or error
    try:
      self._manager.close()
    except Exception as error:  # close() raises a failed write again, which wait() has reported
      failed = failed or error
    if failed is not None and failed is not exc:
      raise failed

  def steps(self) -> list[int]:
    """The steps of the complete checkpoints, ascending."""
    return saved_steps(self.folder)

  def latest_step(self) -> int | None:
    """The newest complete checkpoint, or None."""
    steps = self.steps()
    return steps[-1] if steps else None

  def save(self, state: Any) -> None:
    """Starts writing `state` under its step number; nothing happens if that one is there.

    The state is copied and its checksums are taken before this returns; writing goes on behind it.

    Raises:
      CheckpointError: This or the previous write failed, e.g. the disk is full.
    """
    assert self._manager is not None, "these checkpoints were opened to be read"
    step = int(state.step)
    if step in self._manager.all_steps():
      return
    self._check_space(step, state)
    checksums = integrity.to_record(integrity.checksums(state))
    try:
      saved = self._manager.save(
        step,
        args=ocp.args.Composite(
          **{STATE: ocp.args.StandardSave(state), CHECKSUMS: ocp.args.JsonSave(checksums)}
        ),
      )
    except Exception as error:  # orbax and its storage raise many types for a failed write
      raise self._write_error(step, error) from error
    if not saved and step not in self.steps():
      raise CheckpointError(f"no checkpoint of step {step} in {self.folder}: a newer one is there.")

  def _check_space(self, step: int, state: Any) -> None:
    """Refuses a write that cannot succeed: a failure half-way costs time and is reported late."""
    needed = sum(x.nbytes for x in jax.tree.leaves(state))
    free = shutil.disk_usage(self.folder).free
    if free < needed:
      mib = lambda size: f"{size / 2**20:.1f} MiB"
      text = f"it needs {mib(needed)}, {mib(free)} are free"
      raise self._write_error(step, OSError(errno.ENOSPC, text))

  def wait(self) -> None:
    """Waits until everything is on disk.

    Raises:
      CheckpointError: A write failed, e.g. the disk is full.
    """
    if self._manager is None:
      return
    try:
      self._manager.wait_until_finished()
    except Exception as error:
      raise self._write_error(None, error) from error

  def _write_error(self, step: int | None, error: Exception) -> CheckpointError:
    what = "a checkpoint" if step is None else f"the checkpoint of step {step}"
    kept = ", ".join(map(str, self.steps())) or "none"
    problem, code = getattr(error, "strerror", None) or gist(error), disk_errors.code_of(error)
    advice = disk_errors.ADVICE[code] if code else disk_errors.AGAIN
    return CheckpointError(
      f"could not write {what} to {self.folder}: {problem}. Complete checkpoints: {kept}. "
      f"{advice[0].upper()}{advice[1:]} from the newest one."
    )

  def restore(self, template: Any, step: int | None = None) -> Any:
    """Reads a checkpoint into the structure of `template`.

    Args:
      template: A state on its devices, of the structure that is expected.
      step: Which checkpoint; the newest whole one if not given.

    Raises:
      CheckpointError: There is none, it is damaged, or it holds another structure.
    """
    return self._newest_whole(lambda step: self._at(step).read(template, whole=True), step)

  def restore_part(self, template: dict[str, Any]) -> dict[str, Any]:
    """Reads only some fields of the newest whole checkpoint.

    Args:
      template: Field name of the saved state -> expected value on its devices.

    Raises:
      CheckpointError: As `restore`.
    """
    return self._newest_whole(lambda step: self._at(step).read(template))

  def restore_shared(
    self,
    template: dict[str, Any],
    other_name: Callable[[Path], Path | None] = lambda path: None,
  ) -> tuple[dict[str, Any], list[str]]:
    """Reads those variables that the newest whole checkpoint has; the others stay as in `template`.

    Args:
      template: Nested dicts of arrays, by field of the saved state.
      other_name: From the path of a variable to the path under which another kind of network keeps it, or
        None. It is asked where the checkpoint lacks the variable itself.

    Returns:
      The variables, and the paths (`student/params/…`) of those that the checkpoint lacks.

    Raises:
      CheckpointError: As `restore`.
    """
    return self._newest_whole(lambda step: self._at(step).read_shared(template, other_name))

  def _at(self, step: int) -> SavedState:
    return SavedState(self.folder / str(step))

  def _newest_whole(self, read: Callable[[int], T], step: int | None = None) -> T:
    """What `read` returns for the newest checkpoint that is not damaged, or for `step`.

    The damaged ones are named and, if this run may write, set aside. Nothing is set aside where all
    cannot be read: then the fault may be ours.
    """
    steps = self.steps()[::-1] if step is None else [step]
    if not steps:
      raise CheckpointError(f"no checkpoint in {self.folder}.")
    damaged: dict[int, DamagedError] = {}
    for candidate in steps:
      error = value = None
      try:
        value = read(candidate)
      except DamagedError as caught:
        error = caught
      if _any_process(error is not None):
        damaged[candidate] = error or DamagedError("another process could not read it")
        continue
      for other, reason in damaged.items():
        self._set_aside(other, candidate, reason)
      return value  # type: ignore[return-value]
    raise self._read_error(damaged)

  def _set_aside(self, step: int, instead: int, reason: DamagedError) -> None:
    """Says that a checkpoint is damaged and, if this run may write, renames its folder."""
    text = f"the checkpoint of step {step} in {self.folder} is damaged ({reason}); "
    if self._manager is None:
      say(f"{text}that of step {instead} is used")
      return
    aside = self.folder / f"damaged-{step}-{os.getpid()}"
    if mesh_lib.is_main_process():
      os.rename(self.folder / str(step), aside)
    if jax.process_count() > 1:
      multihost_utils.sync_global_devices("a damaged checkpoint is set aside")
    self._manager.reload()
    say(f"{text}it is kept as {aside.name}, and the run continues from step {instead}")

  def _read_error(self, damaged: dict[int, DamagedError]) -> CheckpointError:
    step, reason = next(iter(damaged.items()))
    others = [other for other in self.steps() if other not in damaged]
    before = f" Neither can those of {', '.join(map(str, list(damaged)[1:]))}." * (len(damaged) > 1)
    advice = (
      f"delete the folder {self.folder / str(step)} to continue from step {others[-1]}"
      if others
      else "start again with a new --workdir"
    )
    return DamagedError(
      f"the checkpoint of step {step} in {self.folder} cannot be read: it is damaged or belongs to "
      f"another model ({reason}).{before} If damaged, {advice}."
    )


def _any_process(failed: bool) -> bool:
  """Whether it failed on any process of the run; all of them have to ask."""
  if jax.process_count() == 1:
    return failed
  return bool(multihost_utils.process_allgather(failed).any())
