"""Writing a large data set on all cores, so that it can be interrupted and continued.

Each 256 examples go to a file of their own in a folder `….partial`, with a note beside it: of which files
it was made, the names and class counts of its examples, and what was wrong. The next attempt keeps the
files whose sources have not changed. At the end the folder gets its final name; it keeps the notes, so that
only the changed part of a finished data set is written again.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tqdm import tqdm

from jax_uda.data.datasets import sources as sources_lib
from jax_uda.data.datasets.sources import Stamps

SHARD_SIZE = 256
# Images are compressed already: once more would cost a tenth of the time of decoding at every read.
OPTIONS = "group_size:1,uncompressed"
PROBLEMS = "problems.txt"  # in the folder of the data set

Pair = Any  # with `files`
T = TypeVar("T")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class Converted:
  """An example as it is stored.

  Attributes:
    name: File name of the image.
    record: Serialised features.
    class_counts: C pixels of each class in the label file.
  """

  name: str
  record: bytes
  class_counts: list[int]


Convert = Callable[[str, Pair], Converted]


@dataclasses.dataclass
class Note:
  """What stands beside a file of examples.

  Attributes:
    sources: Of its source files.
    names: File names of the images in it.
    class_counts: C pixels of each class, for each of them.
    problems: One sentence for each pair left out.
    num_bytes: Of all records.
  """

  sources: Stamps
  names: list[str] = dataclasses.field(default_factory=list)
  class_counts: list[list[int]] = dataclasses.field(default_factory=list)
  problems: list[str] = dataclasses.field(default_factory=list)
  num_bytes: int = 0


def _apply_ahead(
  pool: concurrent.futures.Executor,
  function: Callable[[T], R],
  items: Iterable[T],
  ahead: int,
  bar: tqdm,
) -> Iterator[concurrent.futures.Future[R]]:
  """The results in order, as futures, while the next `ahead` are being made."""
  waiting: collections.deque[concurrent.futures.Future[R]] = collections.deque()
  items = iter(items)
  while True:
    for item in itertools.islice(items, ahead - len(waiting)):
      waiting.append(pool.submit(function, item))
    if not waiting:
      return
    concurrent.futures.wait([waiting[0]])
    bar.update()
    yield waiting.popleft()


def _write_shard(
  path: pathlib.Path,
  sources: Stamps,
  results: Iterable[concurrent.futures.Future[Converted]],
  skip: bool,
) -> Note:
  """Writes a file and its note, complete or not at all."""
  note = Note(sources)
  temporary = path.with_suffix(".tmp")
  writer = array_record_module.ArrayRecordWriter(str(temporary), OPTIONS)
  try:
    for result in results:
      try:
        example = result.result()
      except ValueError as error:
        if not skip:
          raise
        note.problems.append(str(error))
        continue
      writer.write(example.record)
      note.names.append(example.name)
      note.class_counts.append(example.class_counts)
      note.num_bytes += len(example.record)
  finally:
    writer.close()
  os.replace(temporary, path)
  temporary.write_text(json.dumps(dataclasses.asdict(note)))
  os.replace(temporary, path.with_suffix(".json"))
  return note


def _read_note(path: pathlib.Path, sources: Stamps, skip: bool) -> Note | None:
  """The note of a file that can be kept."""
  if not (path.is_file() and path.with_suffix(".json").is_file()):
    return None
  note = Note(**json.loads(path.with_suffix(".json").read_text()))
  return note if note.sources == sources and (skip or not note.problems) else None


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """One process at a time; the lock of a process that was killed is free."""
  folder.mkdir(parents=True, exist_ok=True)
  with open(folder / "lock", "w") as file:
    with contextlib.suppress(OSError):  # a file system without locks: then prepare in one process
      fcntl.flock(file, fcntl.LOCK_EX)
    yield


@dataclasses.dataclass
class _Shard:
  """A file to be: what goes into it, and its note once it is there."""

  split: str
  path: pathlib.Path
  pairs: Sequence[Pair]
  sources: Stamps
  note: Note | None


def _take_back(folder: pathlib.Path, partial: pathlib.Path) -> None:
  """Puts the files and notes of a finished data set where `_plan` looks, unless newer ones are there."""
  for split, shards in sources_lib.read_notes(folder).items():
    for number, (name, note) in enumerate(shards):
      path = partial / f"{split}-{number:05d}.array_record"
      if not name or path.exists():
        continue
      with contextlib.suppress(OSError):  # without hard links all is written again
        os.link(folder / name, path)
        path.with_suffix(".json").write_text(json.dumps(note))


def _plan(
  splits: Mapping[str, Sequence[Pair]], partial: pathlib.Path, skip: bool
) -> Iterator[_Shard]:
  for split, pairs in splits.items():
    for number, start in enumerate(range(0, len(pairs), SHARD_SIZE)):
      part = pairs[start : start + SHARD_SIZE]
      path, sources = partial / f"{split}-{number:05d}.array_record", sources_lib.stamps(part)
      yield _Shard(split, path, part, sources, _read_note(path, sources, skip))


def _fill(shards: Sequence[_Shard], convert: Convert, title: str, skip: bool) -> None:
  """Writes the files that are not there yet."""
  total = sum(len(shard.pairs) for shard in shards)
  todo = [shard for shard in shards if shard.note is None]
  done = total - sum(len(shard.pairs) for shard in todo)
  workers = os.cpu_count() or 1
  pool = concurrent.futures.ThreadPoolExecutor(workers)  # OpenCV and Pillow release the lock
  items = ((shard.split, pair) for shard in todo for pair in shard.pairs)
  bar = tqdm(desc=title, total=total, initial=done, unit=" images", mininterval=0.5)
  results = _apply_ahead(pool, lambda item: convert(*item), items, 2 * workers, bar)
  try:
    for shard in todo:
      part = itertools.islice(results, len(shard.pairs))
      shard.note = _write_shard(shard.path, shard.sources, part, skip)
      done += len(shard.pairs)
  except ValueError as error:
    raise ValueError(
      f"{error} {done} of {total} pairs are prepared and stay so: repair the file and start again, or "
      "leave such pairs out with --mode=prepare --on_error=skip."
    ) from None
  finally:
    bar.close()
    pool.shutdown(cancel_futures=True)


def _finish(
  builder: tfds.core.DatasetBuilder, partial: pathlib.Path, shards: Mapping[str, Sequence[_Shard]]
) -> None:
  """Gives the files the names TFDS expects and writes what describes them.

  Args:
    builder: Its name and features.
    partial: The folder.
    shards: Of each split; those without examples have no file.
  """
  infos, kept, noted = [], set(), {}
  for split, every in shards.items():
    filled = [shard for shard in every if shard.note.names]
    template = tfds.core.ShardedFileTemplate(
      dataset_name=builder.name, data_dir=partial, split=split, filetype_suffix="array_record"
    )
    names = {}
    for index, shard in enumerate(filled):
      target = pathlib.Path(template.sharded_filepath(shard_index=index, num_shards=len(filled)))
      os.replace(shard.path, target)
      kept.add(target)
      names[shard.path] = target.name
    lengths = [len(shard.note.names) for shard in filled]
    size = sum(shard.note.num_bytes for shard in filled)
    infos.append(tfds.core.SplitInfo(split, lengths, size, filename_template=template))
    noted[split] = [(names.get(s.path, ""), dataclasses.asdict(s.note)) for s in every]
  for file in partial.iterdir():
    if file not in kept:
      file.unlink()
  for split, every in shards.items():
    counts = [row for shard in every for row in shard.note.class_counts]
    np.save(partial / f"class_counts_{split}.npy", np.array(counts, np.int64))
    names = [name for shard in every for name in shard.note.names]
    (partial / f"names_{split}.json").write_text(json.dumps(names))
  (partial / sources_lib.NOTES).write_text(json.dumps(noted))
  builder.info.set_splits(tfds.core.SplitDict(infos))
  builder.info.write_to_directory(partial)


def put_in_place(partial: pathlib.Path, folder: pathlib.Path) -> None:
  """Renames; readers of a data set that was there keep its open files."""
  old = folder.with_name(f"{folder.name}.old")
  shutil.rmtree(old, ignore_errors=True)
  if folder.exists():
    folder.rename(old)
  partial.rename(folder)
  shutil.rmtree(old, ignore_errors=True)


def write(
  builder: tfds.core.DatasetBuilder,
  splits: Mapping[str, Sequence[Pair]],
  convert: Convert,
  *,
  skip: bool,
) -> None:
  """Writes a data set to `builder.data_path`, or continues to, or what has changed since.

  Args:
    builder: Its name, features and folder.
    splits: Split -> its files.
    convert: (split, files) -> example; called from many threads; raises ValueError for bad files.
    skip: Leave pairs with bad files out and name them in `problems.txt`, rather than stop.

  Raises:
    ValueError: A pair cannot be used and `skip` is false, or no pair of a split can be used. What was
      written before is kept.
  """
  folder = pathlib.Path(builder.data_path)
  partial = folder.with_name(f"{folder.name}.partial")
  with locked(partial):
    if folder.exists():
      changes = sources_lib.find_changes(folder, splits)
      if not changes:  # another process has done it in the meantime
        shutil.rmtree(partial)
        return
      _take_back(folder, partial)
    shards = list(_plan(splits, partial, skip))
    _fill(shards, convert, f"preparing {builder.name}", skip)
    problems = [text for shard in shards for text in shard.note.problems]
    of_split = {split: [s for s in shards if s.split == split] for split in splits}
    for split in splits:
      if not any(shard.note.names for shard in of_split[split]):
        raise ValueError(f"No pair of {split} can be used; the first problem: {problems[0]}")
    _finish(builder, partial, of_split)
    if problems:
      (partial / PROBLEMS).write_text("\n".join(problems) + "\n")
    put_in_place(partial, folder)
