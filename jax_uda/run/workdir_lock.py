"""One run in a workdir at a time; what a killed run left half-written there is removed by the next."""

import contextlib
import pathlib
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from jax_uda.common import disk_errors, files, lock
from jax_uda.common import mesh as mesh_lib
from jax_uda.common.log import say

FILE = "run.lock"


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps other processes from writing into `workdir`, which is made if missing, inside the block.

  All processes of a distributed job share the lock of process 0. A process that has the lock already
  may ask again, as the stages of a recipe do.

  Raises:
    ValueError: Another process has the lock; the message names it.
    OSError: The folder cannot be made or written.
  """
  with contextlib.ExitStack() as stack:
    error = None
    if mesh_lib.is_main_process():
      try:
        stack.enter_context(_hold_here(workdir))
      except (ValueError, OSError) as refusal:
        error = refusal
    if jax.process_count() > 1:
      refused = multihost_utils.broadcast_one_to_all(np.array(error is not None))
      if refused and error is None:
        raise ValueError(f"process 0 of this job may not write into {workdir}; it says why")
    if error is not None:
      raise error
    yield


@contextlib.contextmanager
def _hold_here(workdir: pathlib.Path) -> Iterator[None]:
  """The lock of this process, whatever other processes of the job do."""
  lease = lock.FileLease(workdir / FILE)
  if lease.holder_is_this_process():
    yield
    return
  missing = [folder for folder in (workdir, *workdir.parents) if not folder.exists()]
  with disk_errors.naming(lease.path):
    workdir.mkdir(parents=True, exist_ok=True)
  try:
    with lock.hold(lease, lambda other: _busy(workdir, other), say=say):
      files.remove_unfinished(workdir)
      yield
  finally:
    for folder in missing:  # a run that was refused leaves no empty folders
      with contextlib.suppress(OSError):
        folder.rmdir()


def _busy(workdir: pathlib.Path, other: lock.Holder) -> str:
  return f"a run is under way in {workdir}: {other}; wait for its end, stop it, or choose another --workdir"
