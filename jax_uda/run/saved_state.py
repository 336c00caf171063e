"""One saved state: reading all of it or a part, and noticing that it is damaged."""

import contextlib
import gc
import pathlib
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import orbax.checkpoint as ocp
from flax import traverse_util

from jax_uda.common.log import say
from jax_uda.run import integrity

Path = tuple[str, ...]  # of a variable: ("student", "params", "encoder", …)

STATE, CHECKSUMS = "default", "checksums"  # folders of a checkpoint


class CheckpointError(ValueError):
  """A checkpoint that cannot be written or read; the message says what to do."""


class DamagedError(CheckpointError):
  """A checkpoint that is not what was saved, as far as one can see."""


def gist(error: BaseException) -> str:
  """The end of a library's error message, which may run over pages and nest many causes."""
  line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
  line = re.split(r" \[(?:tensorstore_spec|source locations)", line)[0]
  line = line if len(line) <= 200 else line.rsplit(": ", 1)[-1][:200]
  return "".join(letter if letter.isprintable() else "?" for letter in line)


class SavedState:
  """The checkpoint of one step; nothing in its folder is changed."""

  def __init__(self, folder: pathlib.Path):
    """Takes its folder, whose name is the step."""
    self._folder = folder

  def read_shared(
    self, template: dict[str, Any], other_name: Callable[[Path], Path | None]
  ) -> tuple[dict[str, Any], list[str]]:
    """Reads those variables that are there; see `Checkpoints.restore_shared`."""
    there = self._checksums() or self._shapes()
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
    restored = self.read(traverse_util.unflatten_dict(part))
    values = traverse_util.flatten_dict(restored)
    merged = wanted | {path: values[source] for path, source in sources.items()}
    return traverse_util.unflatten_dict(merged), missing

  def holds(self, values: Any) -> bool:
    """Whether `values` are what was saved, by the checksums; nothing else is read."""
    try:
      return self._checksums() == integrity.checksums(values)
    except DamagedError:
      return False

  def read(self, template: Any, *, whole: bool = False) -> Any:
    """Reads it, or of it what `template` has, and compares the values with their checksums.

    Args:
      template: Arrays or their descriptions, on their devices.
      whole: Whether `template` has all that was saved.

    Raises:
      DamagedError: It is damaged.
      CheckpointError: It holds another structure.
    """
    expected = self._checksums()
    self._check_structure(template, expected, whole)
    values = self._read_arrays(_abstract(template), whole)
    if expected is None:
      say(f"{self._folder} is of an earlier version, without checksums: read unchecked")
      return values
    try:
      integrity.check(values, expected)
    except integrity.Damage as error:
      raise DamagedError(str(error)) from error
    return values

  def _read_arrays(self, abstract: Any, whole: bool) -> Any:
    """Reads arrays; raises DamagedError in whatever way that fails."""
    folder, reason = self._folder / STATE, ""
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
        reason = gist(error)
      # Reads that are still in flight complain, and so do what they leave behind when it is freed.
      time.sleep(0.1)
      gc.collect()
    raise DamagedError(f"it cannot be read: {reason}")

  def _checksums(self) -> dict[str, integrity.Checksum] | None:
    """What was saved, by name; None for a checkpoint of an earlier version."""
    folder = self._folder / CHECKSUMS
    if not folder.is_dir():
      return None
    try:
      with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return integrity.from_record(reader.restore(folder))
    except Exception as error:
      raise DamagedError(f"its checksums cannot be read: {gist(error)}") from error

  def _shapes(self) -> dict[str, tuple[int, ...]]:
    """The shape of every saved array, by its path with dots."""
    try:
      with ocp.PyTreeCheckpointer() as reader:
        saved = reader.metadata(self._folder / STATE).item_metadata.tree
      leaves = jax.tree.leaves(saved, is_leaf=lambda x: hasattr(x, "shape"))
      return {leaf.name: tuple(leaf.shape) for leaf in leaves}
    except Exception as error:
      raise DamagedError(f"it cannot be read: {gist(error)}") from error

  def _check_structure(
    self,
    template: Any,
    expected: dict[str, integrity.Checksum] | None,
    whole: bool,
  ) -> None:
    """Raises CheckpointError for arrays that the checkpoint lacks or has otherwise."""
    there: dict[str, Any] = {name: item[:2] for name, item in (expected or {}).items()}
    if expected is None:
      there = {name: (None, shape) for name, shape in self._shapes().items()}
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
      raise self._structure_error(text)
    if whole and (surplus := sorted(there.keys() - here.keys())):
      raise self._structure_error(f"{surplus[0]} is there, but not here")

  def _structure_error(self, text: str) -> CheckpointError:
    return CheckpointError(
      f"the checkpoint of step {self._folder.name} in {self._folder.parent} cannot be read: {text}; config.model, "
      "config.method and the classes of config.data must be those of the run that wrote it."
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


def _abstract(tree: Any) -> Any:
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), tree)
