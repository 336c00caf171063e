"""Small files that say what a run or a prepared data set is: read with a guard.

JSON objects carry a checksum of themselves, so that a flipped bit is noticed, even one that turns a digit
into another. Files of earlier versions have none and are read as they are.
"""

import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from jax_uda.common import files

T = TypeVar("T")

CHECKSUM = "checksum"  # a key of the object
_KIND = "sha256:"


class DamagedFileError(ValueError):
  """A file of ours that cannot be what was written; the message says what it is for and what to do."""

  def __init__(self, path: pathlib.Path, problem: str, purpose: str):
    """Takes the file, what is wrong with it, and a clause: "it says …; remove it, and …"."""
    super().__init__(f"{path} is damaged ({problem}): {purpose}.")


def _checksum(content: Mapping[str, Any]) -> str:
  """A checksum of an object, the same for what JSON reads back: in it, keys keep their order."""
  return _KIND + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]


def to_json(content: Mapping[str, Any], indent: int | None = 2) -> str:
  """The text of an object with its checksum as the last key."""
  return json.dumps({**content, CHECKSUM: _checksum(content)}, indent=indent)


def write_json(path: pathlib.Path, content: Mapping[str, Any], indent: int | None = 2) -> None:
  """Writes an object with its checksum, complete or not at all; see `files`. Indents take time."""
  files.write_atomically(path, to_json(content, indent))


def parse(data: bytes, kind: type[T]) -> T:
  """Reads JSON of the type `kind`; an object is returned without its checksum.

  Raises:
    ValueError: The text is empty, no JSON, of another type, or does not fit its checksum.
  """
  if not data.strip(b"\0 \n"):  # a loss of power leaves zeros
    raise ValueError("it is empty")
  try:
    content = json.loads(data)
  except UnicodeDecodeError:
    raise ValueError("it is no text") from None
  except RecursionError:
    raise ValueError("it is nested too deeply") from None
  except ValueError as error:
    raise ValueError(f"it is no JSON: {error}") from None
  if not isinstance(content, kind):
    raise ValueError(f"it holds a {type(content).__name__} instead of a {kind.__name__}")
  if isinstance(content, dict):
    _check(content)
  return content


def _check(content: dict[str, Any]) -> None:
  """Takes the checksum out of an object; raises ValueError if it is another one."""
  checksum = content.pop(CHECKSUM, None)
  if checksum is None:  # of an earlier version, unless the key itself is damaged
    wrong = any(
      str(value).startswith(_KIND) and len(str(value)) == 23 for value in content.values()
    )
  else:
    wrong = checksum != _checksum(content)
  if wrong:
    raise ValueError(
      f'its checksum is another one; if you have edited it, take the line "{CHECKSUM}" out'
    )


def read_json(path: pathlib.Path, kind: type[T], purpose: str) -> T:
  """Reads a JSON file of ours.

  Args:
    path: The file.
    kind: What it holds: dict or list.
    purpose: What the file is for and what to do if it is damaged, as a clause for the error's end.

  Raises:
    DamagedFileError: The file does not hold what was written.
    OSError: There is no such file, or it cannot be opened.
  """
  try:
    return parse(path.read_bytes(), kind)
  except ValueError as error:
    raise DamagedFileError(path, str(error), purpose) from None


def write_arrays(path: pathlib.Path, arrays: Mapping[str, np.ndarray]) -> None:
  """Writes a compressed .npz file, complete or not at all; the format has its own checksums."""
  with files.replacing(path) as temporary, temporary.open("wb") as file:
    np.savez_compressed(file, **arrays)  # pyright: ignore[reportArgumentType]


def read_arrays(path: pathlib.Path, purpose: str) -> dict[str, np.ndarray]:
  """The arrays of an .npz file of ours that a run can do without; none if there is no such file.

  A damaged file is moved aside, and a line says so.

  Args:
    path: The file.
    purpose: What is lost if it is damaged, as a clause for the end of the line.
  """
  if not path.exists():
    return {}
  try:
    with np.load(path, allow_pickle=False) as arrays:
      return dict(arrays)
  except Exception as error:  # zipfile and NumPy raise many types
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    print(f"{path} is damaged ({error}) and is {aside.name} now: {purpose}", flush=True)
    return {}
