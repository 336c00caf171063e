"""Batches that a run leaves out since a loss was not finite at them: `config.on_nonfinite = "rollback"`.

They are noted in the run's folder, so that a run that is continued leaves out the same ones. The stream of
batches is then that of a run without these numbers, from the first step on.
"""

import pathlib
from collections.abc import Collection, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files

T = TypeVar("T")

FILE = "bad_batches.json"


def read(workdir: pathlib.Path) -> tuple[dict[str, Any], ...]:
  """What `add` has noted: by batch its number, the step that it was for, and the cause.

  Raises:
    ValueError: The file is damaged.
  """
  path = workdir / FILE
  if not path.is_file():
    return ()
  try:
    rows = state_files.read_json(path, dict, "it says which batches are left out")["batches"]
    return tuple(
      {"batch": int(row["batch"]), "step": int(row["step"]), "cause": str(row["cause"])}
      for row in rows
    )
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
      f"{path} cannot be read ({error}); it says which batches this run leaves out. Restore it from a "
      "copy, or remove it to train on all batches again."
    ) from None


def add(workdir: pathlib.Path, *, batch: int, step: int, cause: str) -> None:
  """Notes a batch; every process of a run has to call it."""
  if mesh_lib.is_main_process():
    rows = [*read(workdir), {"batch": batch, "step": step, "cause": cause}]
    state_files.write_json(workdir / FILE, {"batches": rows})
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices("a bad batch is noted")  # before they read it again


def number_of(step: int, left_out: Collection[int]) -> int:
  """The number of the batch for a step: the step-th of those that are not left out, from 0."""
  number = step
  for other in sorted(left_out):
    number += other <= number
  return number


def without(batches: Iterator[T], first: int, left_out: Collection[int]) -> Iterator[T]:
  """The batches whose number is not left out.

  Args:
    batches: Batches in order.
    first: The number of the first of them.
    left_out: Numbers of batches.
  """
  for number, batch in enumerate(batches, first):
    if number not in left_out:
      yield batch
