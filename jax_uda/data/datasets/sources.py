"""The files that a prepared data set was made of: changes are noticed, another folder with them is not one.

What identifies data is what they hold: the files' names below their common folder, their lengths, and a
hash of each, which is computed when they are prepared. Where lengths and times are those of the preparation,
nothing is opened. Where only times or the folder differ, contents decide.
"""

import functools
import hashlib
import itertools
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jax_uda.common import paths, state_files

NOTES = "notes.json"  # in the folder of the data set: split -> [file name, note] of each shard

# [bytes, time of the last change in ns] and, if it is known, the SHA-256 of the content.
Stamp = list[Any]
Stamps = dict[str, Stamp | None]  # by file; None: no such file

# Contents are compared completely up to so many bytes; of more, an even sample of so many files.
COMPARED_BYTES, SAMPLE = 2**31, 256
_CHUNK = 2**22


class HasFiles(Protocol):
  """What an example is made of; usually a `pairs.Pair`."""

  @property
  def files(self) -> Sequence[paths.Path]:
    """All source files of the example."""
    ...


class Changes(NamedTuple):
  """The differences to the files that a data set was prepared from.

  Attributes:
    number: How many files came, went or changed.
    example: One of these files.
  """

  number: int
  example: str


class Identity(NamedTuple):
  """What a prepared data set was made of, wherever the files lay.

  Attributes:
    folder: The common folder of the files when they were prepared, for information.
    files: Their number.
    names: A hash of their names below that folder, and of their lengths.
    contents: A hash of all contents; empty if a data set of an earlier version does not know them.
  """

  folder: str
  files: int
  names: str
  contents: str


def stamps(pairs: Iterable[HasFiles]) -> Stamps:
  """The lengths and times of all files of `pairs`."""
  files = map(os.fspath, itertools.chain.from_iterable(pair.files for pair in pairs))
  return {file: paths.stamp(file) for file in files}


def content_hash(file: str) -> str:
  """The SHA-256 of a file; empty for one in a bucket, which would have to be fetched once more."""
  if paths.is_remote(file):
    return ""
  value = hashlib.sha256()
  with open(file, "rb") as reader:
    while chunk := reader.read(_CHUNK):
      value.update(chunk)
  return value.hexdigest()


def read_notes(folder: pathlib.Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
  """File names and notes of the shards of each split, in order; empty if there are no notes.

  Raises:
    state_files.DamagedFileError: The notes cannot be read.
  """
  path = folder / NOTES
  if not path.is_file():
    return {}
  purpose = (
    "it says which files the prepared data set was made of; the same command with --repair prepares "
    "the data set again"
  )
  return state_files.read_json(path, dict, purpose)


def noted(folder: pathlib.Path) -> Stamps:
  """The files that the data set in `folder` was prepared from; empty if it does not say."""
  files: Stamps = {}
  for _, note in itertools.chain.from_iterable(read_notes(folder).values()):
    files |= note["sources"]
  return files


def _is_same_time(before: Stamp | None, now: Stamp | None) -> bool:
  return (before and before[:2]) == (now and now[:2])


def different(before: Stamps, now: Stamps, places: Mapping[str, str] | None = None) -> list[str]:
  """The names in one of two lists of files, or in both with another length or content.

  Args:
    before: Files by name, with hashes of their contents if these are known.
    now: The same for the files that are there now.
    places: Where a file of `now` lies; without, its name is its place.
  """
  names = sorted(before.keys() | now.keys())
  candidates = [name for name in names if not _is_same_time(before.get(name), now.get(name))]
  wrong, to_read = [], []
  for name in candidates:
    old, new = before.get(name), now.get(name)
    comparable = old and new and old[0] == new[0] and len(old) > 2 and old[2]
    (to_read if comparable else wrong).append(name)
  size = sum(now[name][0] for name in to_read)  # pyright: ignore[reportOptionalSubscript]
  if size > COMPARED_BYTES and len(to_read) > SAMPLE:
    every = len(to_read) / SAMPLE
    to_read = [to_read[int(i * every)] for i in range(SAMPLE)]
    print(
      f"{len(candidates)} files lie elsewhere or have another time than when they were prepared, with "
      f"equal names and lengths; of {SAMPLE} of them the contents are compared",
      flush=True,
    )
  for name in to_read:
    old = before[name]
    assert old is not None
    if content_hash(places[name] if places else name) != old[2]:
      wrong.append(name)
  return sorted(wrong)


def find_changes(folder: pathlib.Path, splits: Mapping[str, Sequence[HasFiles]]) -> Changes | None:
  """Compares the files of `splits` with those that the data set in `folder` was prepared from.

  Ignores files whose folder has been deleted: a prepared data set does not need them.
  """
  before = noted(folder)
  if not before:
    return None
  now = stamps(itertools.chain.from_iterable(splits.values()))
  is_there = functools.cache(lambda folder: paths.as_path(folder, "folder").is_dir())
  changed = [
    file for file in different(before, now) if now.get(file) or is_there(os.path.dirname(file))
  ]
  return Changes(len(changed), changed[0]) if changed else None


def relative(files: Stamps) -> tuple[str, Stamps]:
  """The common folder of all files, and the files by their path below it."""
  parts = [os.path.dirname(file).split("/") for file in files]
  common = os.path.commonprefix(parts) if parts else []
  folder = "/".join(common)
  return folder, {file[len(folder) :].strip("/"): stamp for file, stamp in files.items()}


def identity(folder: pathlib.Path) -> Identity | None:
  """What the data set in `folder` was made of; None if it was drawn, or does not say."""
  common, files = relative(noted(folder))
  if not files:
    return None
  rows = sorted((name, *(stamp or [None])) for name, stamp in files.items())
  digest = lambda value: hashlib.sha256(repr(value).encode()).hexdigest()[:16]
  names = digest([(row[0], row[1]) for row in rows])
  hashes = [row[3] if len(row) > 3 else "" for row in rows if row[1] is not None]
  return Identity(common, len(rows), names, digest(hashes) if all(hashes) else "")
