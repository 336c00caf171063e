"""Whether a prepared data set is as it was written: lengths of its files, checksums of the small ones.

`checksums.json` in its folder lists them. The records themselves need none: their format has a hash of each, and
notices a flipped bit when the record is read.
"""

import contextlib
import hashlib
import json
import pathlib
from typing import Any

import numpy as np
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]

from jax_uda.common import state_files

FILE = "checksums.json"
_REPAIR = "the same command with --repair prepares it again, as it does if you remove the folder"
_RECORDS = ".array_record"  # in the names of the files that hold the examples


class DamagedDataError(ValueError):
  """A prepared data set that is not as it was written; the message names the file and what to do."""

  def __init__(self, folder: pathlib.Path, file: str, problem: str):
    """Takes the folder, the name of the file in it, and a sentence about it without its end."""
    self.file = file
    super().__init__(
      f"the prepared data set in {folder} is damaged ({file}: {problem}); {_REPAIR}."
    )


def _state(file: pathlib.Path) -> dict[str, Any]:
  """Length and, of a small file, checksum."""
  if _RECORDS in file.name:
    return {"bytes": file.stat().st_size}
  content = file.read_bytes()
  return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def write(folder: pathlib.Path) -> None:
  """Writes down how the files of a complete data set are now."""
  names = sorted(file.name for file in folder.iterdir() if file.is_file())
  kept = [name for name in names if name not in (FILE, "complete.json") and name[0] != "."]
  state_files.write_json(folder / FILE, {name: _state(folder / name) for name in kept})


def check(folder: pathlib.Path) -> None:
  """Raises DamagedDataError if a file is missing or not as it was written.

  A data set of an earlier version has no checksums: then its small files must be readable. It gets them,
  if its folder can be written.
  """
  if not (folder / FILE).exists():
    _check_forms(folder)
    with contextlib.suppress(OSError):
      write(folder)
    return
  try:
    states = state_files.parse((folder / FILE).read_bytes(), dict)
  except ValueError as error:
    raise DamagedDataError(folder, FILE, str(error)) from None
  for name, state in states.items():
    try:
      now = _state(folder / name)
    except FileNotFoundError:
      raise DamagedDataError(folder, name, "it is missing") from None
    if now["bytes"] != state["bytes"]:
      problem = f"it has {now['bytes']} bytes instead of {state['bytes']}"
      raise DamagedDataError(folder, name, problem)
    if now != state:
      raise DamagedDataError(folder, name, "its checksum is another one")


def _check_forms(folder: pathlib.Path) -> None:
  """Raises DamagedDataError if a file of a data set without checksums cannot be read."""
  names = {file.name for file in folder.iterdir()}
  for name in ("dataset_info.json", "features.json"):
    if name not in names:
      raise DamagedDataError(folder, name, "it is missing")
  for name in sorted(names):
    try:
      if name.endswith(".json"):
        json.loads((folder / name).read_bytes())
      elif name.startswith("class_counts") and name.endswith(".npy"):
        np.load(folder / name, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
      raise DamagedDataError(folder, name, f"it cannot be read: {error}") from None


def damaged_records(folder: pathlib.Path) -> list[str]:
  """The files of records in which one cannot be read. All are read, which takes its time."""
  damaged = []
  for file in sorted(folder.iterdir()):
    if _RECORDS in file.name:
      try:
        reader = array_record_module.ArrayRecordReader(str(file))
        for index in range(reader.num_records()):
          reader.read([index])
        reader.close()
      except (RuntimeError, ValueError, IndexError, OSError):
        damaged.append(file.name)
  return damaged


def is_damaged(folder: pathlib.Path) -> bool:
  """Whether anything in a prepared data set is damaged; all of it is read."""
  try:
    check(folder)
  except DamagedDataError:
    return True
  return bool(damaged_records(folder))
