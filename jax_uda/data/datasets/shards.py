"""Writing a large data set on all cores, so that it can be interrupted and continued.

Every 256 examples go to a file of their own (a shard) in a folder `….partial`. A note beside the shard says
which source files it was made of, the names and class counts of its examples, and which pairs could not be
used. The next attempt keeps the shards whose source files have not changed. At the end the folder gets its
final name and keeps the notes, so that only the changed part of a finished data set is written again.
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import itertools
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Generic, TypeVar

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module  # pyright: ignore[reportAttributeAccessIssue]
from etils import epath
from tqdm import tqdm

from jax_uda.common import files, lock, state_files
from jax_uda.data.datasets import seal
from jax_uda.data.datasets import sources as sources_lib
from jax_uda.data.datasets.sources import HasFiles, Stamps

SHARD_SIZE = 256
# The images are compressed already; a second compression would make every read a tenth slower.
OPTIONS = "group_size:1,uncompressed"
PROBLEMS = "problems.txt"  # in the folder of the data set

T = TypeVar("T")
R = TypeVar("R")
P = TypeVar("P", bound=HasFiles)


@dataclasses.dataclass(frozen=True)
class Converted:
  """An example as it is stored.

  Attributes:
    name: The file name of the image.
    record: The serialised features.
    class_counts: Pixels per class in the label: C numbers.
  """

  name: str
  record: bytes
  class_counts: list[int]


# (split, source files) -> example; raises ValueError for bad files.
Convert = Callable[[str, P], Converted]


@dataclasses.dataclass
class Note:
  """What is known about a shard.

  Attributes:
    sources: Lengths, times and hashes of the source files.
    names: File names of the images in the shard.
    class_counts: Pixels per class of each of these images.
    problems: One sentence per pair that was left out.
    num_bytes: The size of all records.
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
  """Yields the results in order, as futures, while the next `ahead` are computed."""
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


def _convert(convert: Convert[P], split: str, pair: P) -> tuple[Converted | ValueError, list[str]]:
  """The example of a pair, or what is wrong with it, and the hashes of its files."""
  try:
    result = convert(split, pair)
  except ValueError as error:
    result = error
  places = [os.fspath(file) for file in pair.files]
  # They have just been read, so that reading them again costs next to nothing.
  return result, [sources_lib.content_hash(file) if os.path.isfile(file) else "" for file in places]


def _write_shard(
  path: pathlib.Path,
  sources: Stamps,
  results: Iterable[concurrent.futures.Future[tuple[Converted | ValueError, list[str]]]],
  pairs: Sequence[HasFiles],
  skip: bool,
) -> Note:
  """Writes a shard and its note, complete or not at all."""
  note = Note({file: stamp and list(stamp) for file, stamp in sources.items()})
  temporary = path.with_suffix(".tmp")
  writer = array_record_module.ArrayRecordWriter(str(temporary), OPTIONS)
  try:
    for pair, result in zip(pairs, results, strict=True):
      example, hashes = result.result()
      for file, value in zip(pair.files, hashes, strict=True):
        if (stamp := note.sources[os.fspath(file)]) is not None:
          stamp[2:] = [value]
      if isinstance(example, ValueError):
        if not skip:
          raise example
        note.problems.append(str(example))
        continue
      writer.write(example.record)
      note.names.append(example.name)
      note.class_counts.append(example.class_counts)
      note.num_bytes += len(example.record)
  finally:
    writer.close()
  os.replace(temporary, path)
  state_files.write_json(path.with_suffix(".json"), dataclasses.asdict(note), indent=None)
  return note


def _read_note(path: pathlib.Path, sources: Stamps, skip: bool) -> Note | None:
  """The note of a shard that can be kept; None if it must be written."""
  if not (path.is_file() and path.with_suffix(".json").is_file()):
    return None
  try:
    note = Note(**state_files.parse(path.with_suffix(".json").read_bytes(), dict))
  except (ValueError, TypeError):  # damaged
    return None
  if sources_lib.different(note.sources, sources) or (note.problems and not skip):
    return None
  known = lambda file: (note.sources[file] or [])[2:]
  note.sources = {file: stamp and [*stamp, *known(file)] for file, stamp in sources.items()}
  return note


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
  """Lets one process write the folder, which is made, at a time. The lock of a killed process is free."""
  with lock.hold_folder(folder, "a data set is being prepared"):
    folder.mkdir(parents=True, exist_ok=True)
    yield


@dataclasses.dataclass
class _Shard(Generic[P]):
  """A planned shard: what goes into it, and its note once it is written."""

  split: str
  path: pathlib.Path
  pairs: Sequence[P]
  sources: Stamps
  note: Note | None

  @property
  def written(self) -> Note:
    """The note of a shard that has been written."""
    assert self.note is not None
    return self.note


def _take_back(folder: pathlib.Path, partial: pathlib.Path, without: Collection[str] = ()) -> None:
  """Links the shards and notes of a finished data set to where `_plan` looks, unless newer ones are there.

  Args:
    folder: The finished data set.
    partial: Where it is written again.
    without: The names of damaged files, which are left out.
  """
  try:
    notes = sources_lib.read_notes(folder)
  except state_files.DamagedFileError:  # then everything is written again
    return
  for split, shards in notes.items():
    for number, (name, note) in enumerate(shards):
      path = partial / f"{split}-{number:05d}.array_record"
      if not name or path.exists() or name in without:
        continue
      with contextlib.suppress(OSError):  # without hard links everything is written again
        os.link(folder / name, path)
        state_files.write_json(path.with_suffix(".json"), note, indent=None)


def _plan(
  splits: Mapping[str, Sequence[P]], partial: pathlib.Path, skip: bool
) -> Iterator[_Shard[P]]:
  """Divides the pairs of each split into shards, and reads the notes of those that can be kept."""
  for split, pairs in splits.items():
    for number, start in enumerate(range(0, len(pairs), SHARD_SIZE)):
      part = pairs[start : start + SHARD_SIZE]
      path, sources = partial / f"{split}-{number:05d}.array_record", sources_lib.stamps(part)
      yield _Shard(split, path, part, sources, _read_note(path, sources, skip))


def _fill(shards: Sequence[_Shard[P]], convert: Convert[P], title: str, skip: bool) -> None:
  """Writes the shards that are not there yet."""
  total = sum(len(shard.pairs) for shard in shards)
  todo = [shard for shard in shards if shard.note is None]
  done = total - sum(len(shard.pairs) for shard in todo)
  workers = os.cpu_count() or 1
  pool = concurrent.futures.ThreadPoolExecutor(workers)  # OpenCV and Pillow release the lock
  items = ((shard.split, pair) for shard in todo for pair in shard.pairs)
  bar = tqdm(desc=title, total=total, initial=done, unit=" images", mininterval=0.5)
  results = _apply_ahead(pool, lambda item: _convert(convert, *item), items, 2 * workers, bar)
  try:
    for shard in todo:
      part = itertools.islice(results, len(shard.pairs))
      shard.note = _write_shard(shard.path, shard.sources, part, shard.pairs, skip)
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
  """Gives the shards the names that TFDS expects and writes the files that describe them.

  Args:
    builder: The data set; its name and features are used.
    partial: The folder of the shards.
    shards: All shards of each split; a shard without examples has no file.
  """
  infos, kept, notes = [], set(), {}
  for split, every in shards.items():
    filled = [shard for shard in every if shard.written.names]
    template = tfds.core.ShardedFileTemplate(
      dataset_name=builder.name,
      data_dir=epath.Path(partial),
      split=split,
      filetype_suffix="array_record",
    )
    names = {}
    for index, shard in enumerate(filled):
      target = pathlib.Path(template.sharded_filepath(shard_index=index, num_shards=len(filled)))
      os.replace(shard.path, target)
      kept.add(target)
      names[shard.path] = target.name
    lengths = [len(shard.written.names) for shard in filled]
    size = sum(shard.written.num_bytes for shard in filled)
    infos.append(tfds.core.SplitInfo(split, lengths, size, filename_template=template))
    notes[split] = [(names.get(s.path, ""), dataclasses.asdict(s.written)) for s in every]
  for file in partial.iterdir():
    if file not in kept:
      file.unlink()
  for split, every in shards.items():
    counts = [row for shard in every for row in shard.written.class_counts]
    np.save(partial / f"class_counts_{split}.npy", np.array(counts, np.int64))
    names = [name for shard in every for name in shard.written.names]
    (partial / f"names_{split}.json").write_text(json.dumps(names))
  state_files.write_json(partial / sources_lib.NOTES, notes, indent=None)
  builder.info.set_splits(tfds.core.SplitDict(infos))
  builder.info.write_to_directory(partial)


def remove_partial(folder: pathlib.Path) -> None:
  """Removes what an interrupted renewal of a data set has left, now that nothing is to be renewed."""
  partial = folder.with_name(f"{folder.name}.partial")
  if partial.exists():
    with locked(partial):
      shutil.rmtree(partial)


def put_in_place(partial: pathlib.Path, folder: pathlib.Path) -> None:
  """Renames `partial` to `folder`. Readers of an earlier `folder` keep its open files."""
  files.sync(partial)
  old = folder.with_name(f"{folder.name}.old")
  shutil.rmtree(old, ignore_errors=True)
  if folder.exists():
    folder.rename(old)
  partial.rename(folder)
  shutil.rmtree(old, ignore_errors=True)


def write(
  builder: tfds.core.DatasetBuilder,
  splits: Mapping[str, Sequence[P]],
  convert: Convert[P],
  *,
  skip: bool,
  repair: bool = False,
) -> None:
  """Writes a data set to `builder.data_path`; continues an interrupted one, renews changed parts.

  Args:
    builder: The data set; its name, features and folder are used.
    splits: The pairs of source files of each split.
    convert: Reads a pair and returns the example; called from many threads.
    skip: Whether pairs with bad files are left out and named in `problems.txt`, rather than refused.
    repair: Whether damaged parts are written again; all records are read to find them.

  Raises:
    ValueError: A pair cannot be used and `skip` is false, or no pair of a split can be used. Shards
      that were written before are kept.
  """
  folder = pathlib.Path(builder.data_path)
  partial = folder.with_name(f"{folder.name}.partial")
  with locked(partial):
    if folder.exists():
      if not repair and not sources_lib.find_changes(folder, splits):
        shutil.rmtree(partial)  # another process has done it in the meantime
        return
      _take_back(folder, partial, seal.damaged_records(folder) if repair else ())
    shards = list(_plan(splits, partial, skip))
    _fill(shards, convert, f"preparing {builder.name}", skip)
    problems = [text for shard in shards for text in shard.written.problems]
    of_split = {split: [shard for shard in shards if shard.split == split] for split in splits}
    for split in splits:
      if not any(shard.written.names for shard in of_split[split]):
        raise ValueError(f"No pair of {split} can be used; the first problem: {problems[0]}")
    _finish(builder, partial, of_split)
    if problems:
      (partial / PROBLEMS).write_text("\n".join(problems) + "\n")
    seal.write(partial)
    put_in_place(partial, folder)
