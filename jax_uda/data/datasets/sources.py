"""The files that a prepared data set was made of, so that changes are noticed later."""

import functools
import itertools
import json
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from jax_uda.common import paths

NOTES = "notes.json"  # in the folder of the data set: split -> [file name, note] of each shard

Pair = Any  # with `files`
Stamps = dict[str, list[int] | None]  # file -> [bytes, time of change in ns]; None: there is none


class Changes(NamedTuple):
  """What is other than when a data set was prepared: the number of files, and one of them."""

  number: int
  example: str


def stamps(pairs: Iterable[Pair]) -> Stamps:
  """The lengths and times of all files."""
  files = map(os.fspath, itertools.chain.from_iterable(pair.files for pair in pairs))
  return {file: paths.stamp(file) for file in files}


def read_notes(folder: pathlib.Path) -> dict[str, list[tuple[str, dict[str, Any]]]]:
  """Split -> the file names and notes of its shards, in order; empty if nothing is noted."""
  path = folder / NOTES
  return json.loads(path.read_text()) if path.is_file() else {}


def find_changes(folder: pathlib.Path, splits: Mapping[str, Sequence[Pair]]) -> Changes | None:
  """Compares the files of `splits` with those that `folder` was prepared from.

  Files whose whole folder is gone do not count: a prepared data set needs its files no more.
  """
  noted = read_notes(folder)
  if not noted:
    return None
  before: Stamps = {}
  for _, note in itertools.chain.from_iterable(noted.values()):
    before |= note["sources"]
  now = stamps(itertools.chain.from_iterable(splits.values()))
  is_there = functools.cache(lambda folder: paths.as_path(folder, "folder").is_dir())
  changed = [
    file
    for file in sorted(before.keys() | now.keys())
    if before.get(file) != now.get(file) and (now.get(file) or is_there(os.path.dirname(file)))
  ]
  return Changes(len(changed), changed[0]) if changed else None
