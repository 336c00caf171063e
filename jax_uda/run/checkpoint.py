"""Checkpoints of the whole train state, through orbax.

A checkpoint appears under its step number only when it is complete, so a run
killed while saving continues from the one before. Nothing of the input pipeline
is saved: its position is the step.
"""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp
from flax import traverse_util

Path = tuple[str, ...]  # of a variable: ("student", "params", "encoder", …)


class CheckpointError(ValueError):
  """A checkpoint that cannot be written or read; the message says what to do."""


def _gist(error: BaseException) -> str:
  """The end of a library's error message, which may run over pages and nest many causes."""
  line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
  return line if len(line) <= 200 else line.rsplit(": ", 1)[-1][:200]


def saved_steps(folder: pathlib.Path) -> list[int]:
  """The steps of the complete checkpoints in a folder, ascending; none if there is no such folder."""
  return sorted(ocp.utils.checkpoint_steps(folder)) if folder.is_dir() else []


class Checkpoints:
  """The checkpoints of one run, in `folder`. Use as a context manager: leaving waits for writes."""

  def __init__(self, folder: str | pathlib.Path, keep: int = 2):
    """Keeps the newest `keep` checkpoints."""
    self.folder = pathlib.Path(folder).absolute()
    self._manager = ocp.CheckpointManager(
      self.folder, options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
    )

  def __enter__(self) -> "Checkpoints":
    """Returns itself."""
    return self

  def __exit__(self, exc_type, exc, traceback) -> None:
    """Waits for writes in flight; an error of theirs does not hide the one under way."""
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
    """Starts writing `state` under its own step number.

    Raises:
      CheckpointError: This or the previous write failed, e.g. the disk is full.
    """
    step = int(state.step)
    self._check_space(step, state)
    try:
      saved = self._manager.save(step, args=ocp.args.StandardSave(state))
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
    """Reads the checkpoint of `step` (default: newest) into the structure of `template`.

    Args:
      template: A state on its devices, of the structure that is expected.
      step: Which checkpoint.

    Raises:
      CheckpointError: There is none, it is damaged, or it holds another structure.
    """
    step = self._existing(step)
    self._check_shapes(step, template)
    try:
      return self._manager.restore(step, args=ocp.args.StandardRestore(_abstract(template)))
    except Exception as error:  # storage, decompression and structure errors have many types
      raise self._read_error(step, error) from error

  def restore_part(self, template: dict[str, Any]) -> dict[str, Any]:
    """Reads only some fields of the newest checkpoint.

    Args:
      template: Field name of the saved state -> expected value on its devices.

    Raises:
      CheckpointError: As `restore`.
    """
    step = self._existing(None)
    self._check_shapes(step, template)
    abstract = _abstract(template)
    arguments = ocp.args.PyTreeRestore(
      item=abstract,
      restore_args=ocp.checkpoint_utils.construct_restore_args(abstract),
      partial_restore=True,
    )
    try:
      with ocp.PyTreeCheckpointer() as reader:
        return reader.restore(self.folder / str(step) / "default", args=arguments)
    except Exception as error:
      raise self._read_error(step, error) from error

  def restore_shared(
    self,
    template: dict[str, Any],
    other_name: Callable[[Path], Path | None] = lambda path: None,
  ) -> tuple[dict[str, Any], list[str]]:
    """Reads those variables that the newest checkpoint has; the others stay as in `template`.

    Args:
      template: Nested dicts of arrays, by field of the saved state.
      other_name: From the path of a variable to the path under which another kind of network keeps it, or
        None. It is asked where the checkpoint lacks the variable itself.

    Returns:
      The variables, and the paths (`student/params/…`) of those that the checkpoint lacks.

    Raises:
      CheckpointError: As `restore`.
    """
    there = self._shapes(self._existing(None))
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
    restored = self.restore_part(traverse_util.unflatten_dict(part))
    values = traverse_util.flatten_dict(restored)
    merged = wanted | {path: values[source] for path, source in sources.items()}
    return traverse_util.unflatten_dict(merged), missing

  def _existing(self, step: int | None) -> int:
    step = self.latest_step() if step is None else step
    if step is None:
      raise CheckpointError(f"no checkpoint in {self.folder}.")
    return step

  def _shapes(self, step: int) -> dict[str, tuple[int, ...]]:
    """The shape of every saved array, by its path with dots."""
    with ocp.PyTreeCheckpointer() as reader:
      saved = reader.metadata(self.folder / str(step) / "default").item_metadata.tree
    leaves = jax.tree.leaves(saved, is_leaf=lambda x: hasattr(x, "shape"))
    return {leaf.name: tuple(leaf.shape) for leaf in leaves}

  def _check_shapes(self, step: int, template: Any) -> None:
    """Raises CheckpointError for an array that has another shape in the checkpoint than in `template`."""
    try:
      saved = self._shapes(step)
    except Exception:  # damaged: reading it says so
      return
    for path, value in jax.tree_util.tree_leaves_with_path(template):
      name = jax.tree_util.keystr(path, simple=True, separator=".")
      is_key = jnp.issubdtype(value.dtype, jax.dtypes.extended)  # saved as its numbers
      if not is_key and saved.get(name, value.shape) != value.shape:
        raise CheckpointError(
          f"the checkpoint of step {step} in {self.folder} cannot be read: {name} has the shape "
          f"{saved[name]} there, but {value.shape} here; config.model, config.method and the classes "
          "of config.data must be those of the run that wrote it."
        )

  def _read_error(self, step: int, error: Exception) -> CheckpointError:
    others = [other for other in self.steps() if other != step]
    advice = (
      f"delete the folder {self.folder / str(step)} to continue from step {others[-1]}"
      if others
      else "start again with a new --workdir"
    )
    return CheckpointError(
      f"the checkpoint of step {step} in {self.folder} cannot be read: it is damaged or belongs to "
      f"another model ({_gist(error)}). If damaged, {advice}."
    )


def _abstract(tree: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
