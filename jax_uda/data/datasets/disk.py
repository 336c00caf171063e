"""Whether data sets fit on the disk, before their preparation begins."""

import contextlib
import pathlib
from collections.abc import Iterable

from jax_uda.common import paths, state_files
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import base, shards, sources, stores
from jax_uda.data.datasets.from_files import FromFiles, Splits
from jax_uda.data.datasets.pairs import Pair

MOST_PER_FILE = 100  # times the bytes of the image files: no data set takes more


def needed_bytes(dataset: FromFiles, *, renew: bool = False) -> int:
  """An estimate of what is still to be written of a data set; 0 if it is prepared or surely fits.

  Args:
    dataset: The data set, prepared, begun or not.
    renew: Whether parts whose files have changed are written anew.
  """
  if dataset.is_complete and not renew:
    return 0
  pairs = dataset.find_pairs()
  if pairs is None:
    return 0
  most = MOST_PER_FILE * sum(map(stores.files_bytes, pairs.values()))
  if most < paths.free_bytes(pathlib.Path(dataset.data_path)):
    return 0
  return stores.estimate(dataset, _unwritten(dataset, pairs))


def _unwritten(dataset: FromFiles, splits: Splits) -> dict[str, list[Pair]]:
  """The pairs of all shards that are not on disk, or are made of files that have changed."""
  written: dict[str, sources.Stamps] = {split: {} for split in splits}
  for split, entries in sources.read_notes(pathlib.Path(dataset.data_path)).items():
    for _, note in entries:
      written.setdefault(split, {}).update(note["sources"])
  for path in stores.partial_folder(dataset).glob("*.json"):
    with contextlib.suppress(ValueError, KeyError):  # damaged, or no note of a shard
      split = path.name.rpartition("-")[0]
      written.setdefault(split, {}).update(state_files.parse(path.read_bytes(), dict)["sources"])
  unwritten: dict[str, list[Pair]] = {}
  for split, pairs in splits.items():
    before = written[split]
    for start in range(0, len(pairs), shards.SHARD_SIZE):
      part = pairs[start : start + shards.SHARD_SIZE]
      now = sources.stamps(part)
      if any((before.get(file) or [])[:2] != (stamp or [])[:2] for file, stamp in now.items()):
        unwritten.setdefault(split, []).extend(part)
  return unwritten


def check_space(data_sets: Iterable[base.Builder], *, renew: bool = False) -> None:
  """Refuses a preparation that would fill the disk.

  Args:
    data_sets: All data sets that are about to be prepared. Drawn ones are small and do not count.
    renew: Whether parts whose files have changed are written anew.

  Raises:
    SettingError: They need more than is free; its path is "dir", the folder of prepared data sets.
    ValueError: Files are missing.
  """
  by_folder = {str(each.data_path): each for each in data_sets if isinstance(each, FromFiles)}
  needed = {folder: needed_bytes(each, renew=renew) for folder, each in by_folder.items()}
  total = sum(needed.values())
  if not total:
    return
  folder = pathlib.Path(next(iter(by_folder))).parents[2]
  free = paths.free_bytes(folder)
  if total <= free:
    return
  parts = [f"{by_folder[key].name} {_gb(size)}" for key, size in needed.items() if size]
  resized = any(by_folder[key].settings.store == "resized" for key in needed if needed[key])
  smaller = (
    ", or store the files as they are, which is less where images are enlarged "
    "(--config.data.store=original; with --dataset, NAME:store=original)"
    if resized
    else ""
  )
  raise SettingError(
    "dir",
    f"= {str(folder)!r}: preparing needs about {_gb(total)} ({', '.join(parts)}), but {_gb(free)} are "
    f"free on this disk, {_gb(total - free)} too little. Choose a folder on another disk{smaller}.",
  )


def _gb(size: float) -> str:
  return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
