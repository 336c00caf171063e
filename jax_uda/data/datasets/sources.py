"""The files that a prepared data set was made of, so that later changes are noticed."""

import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from jax_uda.common import paths

NOTES = "notes.json"  # in the folder of the data set: split -> [file name, note] of each shard

Stamps = dict[str, list[int] | None]  # file -> [bytes, time of change in ns]; None: no such file


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


def stamps(pairs: Iterable[HasFiles]) -> Stamps:
  """The lengths and times of all files of `pairs`."""
  files = map(os.fspath, itertools.chain.from_iterable(pair.files for pair in pairs))
  return {file: paths.stamp(file) for file in files}


def read_notes(folder: pathlib.Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
  """File names and notes of the shards of each split, in order; empty if there are no notes."""
  path = folder / NOTES
  return json.loads(path.read_text()) if path.is_file() else {}


def find_changes(folder: pathlib.Path, splits: Mapping[str, Sequence[HasFiles]]) -> Changes | None:
  """Compares the files of `splits` with those that the data set in `folder` was prepared from.

  Ignores files whose folder has been deleted: a prepared data set does not need them.
  """
  notes = read_notes(folder)
  if not notes:
    return None
  before: Stamps = {}
  for _, note in itertools.chain.from_iterable(notes.values()):
    before |= note["sources"]
  now = stamps(itertools.chain.from_iterable(splits.values()))
  is_there = functools.cache(lambda folder: paths.as_path(folder, "folder").is_dir())
  changed = [
    file
    for file in sorted(before.keys() | now.keys())
    if before.get(file) != now.get(file) and (now.get(file) or is_there(os.path.dirname(file)))
  ]
  return Changes(len(changed), changed[0]) if changed else None
