"""Checkpoints of the whole train state, through orbax, with checksums of all arrays.

A checkpoint appears under its step number only when it is complete, so a run
killed while saving continues from the one before. One that is damaged is noticed
when it is read, and the newest whole one is read instead. Nothing of the input
pipeline is saved: its position is the step.
"""

import contextlib
import gc
import os
import pathlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import orbax.checkpoint as ocp
from flax import traverse_util
from jax.experimental import multihost_utils

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say
from jax_uda.run import integrity

T = TypeVar("T")
Path = tuple[str, ...]  # of a variable: ("student", "params", "encoder", …)

STATE, CHECKSUMS = "default", "checksums"  # folders of a checkpoint


class CheckpointError(ValueError):
  """A checkpoint that cannot be written or read; the message says what to do."""


class DamagedError(CheckpointError):
  """A checkpoint that is not what was saved, as far as one can see."""


def _gist(error: BaseException) -> str:
  """The end of a library's error message, which may run over pages and nest many causes."""
  line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
  line = line if len(line) <= 200 else line.rsplit(": ", 1)[-1][:200]
  return "".join(letter if letter.isprintable() else "?" for letter in line)


def saved_steps(folder: pathlib.Path) -> list[int]:
  """The steps of the complete checkpoints in a folder, ascending; none if there is no such folder."""
  return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


class Checkpoints:
  """The checkpoints of one run, in `folder`. Use as a context manager: leaving waits for writes."""

  def __init__(self, folder: str | pathlib.Path, keep: int | None = 2):
    """Keeps the newest `keep` checkpoints; None: they are read and nothing in the folder is changed."""
    self.folder = pathlib.Path(folder).absolute()
    self._manager = None
    if keep is not None:
      options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
      self._manager = ocp.CheckpointManager(self.folder, options=options)

  def __enter__(self) -> "Checkpoints":
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
      raise self._write_error(step, OSError(f"it needs {mib(needed)}, {mib(free)} are free"))

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
    return CheckpointError(
      f"could not write {what} to {self.folder}: {_gist(error)}. Complete checkpoints: {kept}. "
      "Free some disk space and run the same command again; it continues from the newest one."
    )

  def restore(self, template: Any, step: int | None = None) -> Any:
    """Reads a checkpoint into the structure of `template`.

    Args:
      template: A state on its devices, of the structure that is expected.
      step: Which checkpoint; the newest whole one if not given.

    Raises:
      CheckpointError: There is none, it is damaged, or it holds another structure.
    """
    return self._newest_whole(lambda step: self._read(step, template, whole=True), step)

  def restore_part(self, template: dict[str, Any]) -> dict[str, Any]:
    """Reads only some fields of the newest whole checkpoint.

    Args:
      template: Field name of the saved state -> expected value on its devices.

    Raises:
      CheckpointError: As `restore`.
    """
    return self._newest_whole(lambda step: self._read(step, template))

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
    return self._newest_whole(lambda step: self._read_shared(step, template, other_name))

  def _read_shared(
    self, step: int, template: dict[str, Any], other_name: Callable[[Path], Path | None]
  ) -> tuple[dict[str, Any], list[str]]:
    there = self._checksums(step) or self._shapes(step)
    wanted = traverse_util.flatten_dict(template)
    sources: dict[Path, Path] = {}  # path of a variable -> its path in the checkpoint
    for path in wanted:
      for candidate in (path, other_name(path)):
        if candidate and ".".join(candidate) in there:
          sources[path] = candidate
          break
    missing = ["/".join(path) for path in wanted if path not in sources]
    if not sources:
      return template, missing
    part = {source: wanted[path] for path, source in sources.items()}
    restored = self._read(step, traverse_util.unflatten_dict(part))
    values = traverse_util.flatten_dict(restored)
    merged = wanted | {path: values[source] for path, source in sources.items()}
    return traverse_util.unflatten_dict(merged), missing

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

  def _read(self, step: int, template: Any, *, whole: bool = False) -> Any:
    """Reads one checkpoint, or of it what `template` has, and compares it with its checksums.

    Raises:
      DamagedError: It is damaged.
      CheckpointError: It holds another structure.
    """
    expected = self._checksums(step)
    self._check_structure(step, template, expected, whole)
    values = self._read_arrays(step, _abstract(template), whole)
    if expected is None:
      say(f"{self.folder / str(step)} is of an earlier version, without checksums: read unchecked")
      return values
    try:
      integrity.check(values, expected)
    except integrity.Damage as error:
      raise DamagedError(str(error)) from error
    return values

  def _read_arrays(self, step: int, abstract: Any, whole: bool) -> Any:
    """Reads arrays; raises DamagedError in whatever way that fails."""
    folder, reason = self.folder / str(step) / STATE, ""
    with _without_library_tracebacks():
      try:
        if whole:
          with ocp.StandardCheckpointer() as reader:
            return reader.restore(folder, abstract)
        arguments = ocp.args.PyTreeRestore(
          item=abstract,
          restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
          partial_restore=True,
        )
        with ocp.PyTreeCheckpointer() as reader:
          return reader.restore(folder, args=arguments)
      except Exception as error:  # storage, decompression and structure errors have many types
        reason = _gist(error)
      # Reads that are still in flight complain, and so do what they leave behind when it is freed.
      time.sleep(0.1)
      gc.collect()
    raise DamagedError(f"it cannot be read: {reason}")

  def _checksums(self, step: int) -> dict[str, integrity.Checksum] | None:
    """What was saved, by name; None for a checkpoint of an earlier version."""
    folder = self.folder / str(step) / CHECKSUMS
    if not folder.is_dir():
      return None
    try:
      with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return integrity.from_record(reader.restore(folder))
    except Exception as error:
      raise DamagedError(f"its checksums cannot be read: {_gist(error)}") from error

  def _shapes(self, step: int) -> dict[str, tuple[int, ...]]:
    """The shape of every saved array, by its path with dots."""
    try:
      with ocp.PyTreeCheckpointer() as reader:
        saved = reader.metadata(self.folder / str(step) / STATE).item_metadata.tree
      leaves = jax.tree.leaves(saved, is_leaf=lambda x: hasattr(x, "shape"))
      return {leaf.name: tuple(leaf.shape) for leaf in leaves}
    except Exception as error:
      raise DamagedError(f"it cannot be read: {_gist(error)}") from error

  def _check_structure(
    self,
    step: int,
    template: Any,
    expected: dict[str, integrity.Checksum] | None,
    whole: bool,
  ) -> None:
    """Raises CheckpointError for arrays that the checkpoint lacks or has otherwise."""
    there: dict[str, Any] = {name: item[:2] for name, item in (expected or {}).items()}
    if expected is None:
      there = {name: (None, shape) for name, shape in self._shapes(step).items()}
    here = {
      integrity.name_of(path): integrity.form_of(value)
      for path, value in jax.tree.leaves_with_path(template)
    }
    for name, (dtype, shape) in here.items():
      saved_dtype, saved_shape = there.get(name, (None, None))
      if name not in there:
        text = f"{name} is not there"
      elif saved_shape != shape:
        text = f"{name} has the shape {saved_shape} there, but {shape} here"
      elif saved_dtype not in (None, dtype):
        text = f"{name} is {saved_dtype} there, but {dtype} here"
      else:
        continue
      raise self._structure_error(step, text)
    if whole and (surplus := sorted(there.keys() - here.keys())):
      raise self._structure_error(step, f"{surplus[0]} is there, but not here")

  def _structure_error(self, step: int, text: str) -> CheckpointError:
    return CheckpointError(
      f"the checkpoint of step {step} in {self.folder} cannot be read: {text}; config.model, "
      "config.method and the classes of config.data must be those of the run that wrote it."
    )

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


@contextlib.contextmanager
def _without_library_tracebacks() -> Iterator[None]:
  """Discards what threads of the storage library print about errors that we report ourselves."""
  hooks = sys.excepthook, sys.unraisablehook
  sys.excepthook = sys.unraisablehook = lambda *_: None
  try:
    yield
  finally:
    sys.excepthook, sys.unraisablehook = hooks


def _any_process(failed: bool) -> bool:
  """Whether it failed on any process of the run; all of them have to ask."""
  if jax.process_count() == 1:
    return failed
  return bool(multihost_utils.process_allgather(failed).any())


def _abstract(tree: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
