"""Which files below a folder are data: the one rule for training, checks and prediction.

Left out, and counted, are hidden files, what systems and tools leave beside images, thumbnails, and
folders that links show a second time.
"""

import collections
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterable, Iterator

from jax_uda.common import paths, text
from jax_uda.common.paths import Path

HIDDEN = "hidden"  # .ipynb_checkpoints, ._0.png and .DS_Store among them
OF_SYSTEMS = "of the operating system"
THUMBNAILS = "thumbnails"
AGAIN = "links to folders that are read anyway"

_OF_SYSTEMS = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx"}
_THUMBNAIL_FOLDERS = {"thumbs", "thumbnails", "@eadir"}
# A thumbnail has such a name and lies beside its image.
_THUMBNAIL = re.compile(r"(?:thumb_)?(.+?)(?:[._-]thumb(?:nail)?)?")


@dataclasses.dataclass
class Walk:
  """What lies below a folder.

  Attributes:
    files: The files that count, sorted.
    left_out: Kind -> how many files (of a folder that is left out: one).
  """

  files: list[Path] = dataclasses.field(default_factory=list)
  left_out: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)


def _kind(name: str) -> str:
  """Why a file or a folder of this name is left out; empty if it counts."""
  if name.startswith("."):
    return HIDDEN
  return OF_SYSTEMS if name.lower() in _OF_SYSTEMS else ""


def _identity(folder: str | pathlib.Path) -> tuple[int, int] | None:
  try:
    status = os.stat(folder)
  except OSError:  # a link to nowhere, or a folder that may not be entered
    return None
  return status.st_dev, status.st_ino


def _local_folders(top: Path, walk: Walk) -> Iterator[tuple[str, list[str]]]:
  """Each folder and the names of its files. Links are followed, each folder comes once.

  Folders come by their own path, if they have one below `top`, rather than by a link.
  """
  # A link to a folder above would bring in all that lies beside `top`, and `top` again.
  above = pathlib.Path(os.path.realpath(top)).parents
  visited = {_identity(folder) for folder in above}
  starts = [os.fspath(top)]
  while starts:
    links = []
    for start in starts:
      for place, folders, names in os.walk(start, onerror=_refuse):
        identity = _identity(place)
        if identity in visited:
          walk.left_out[AGAIN] += 1
          folders.clear()
          continue
        visited.add(identity)
        folders[:] = sorted(name for name in folders if _keeps_folder(name, walk))
        links += [os.path.join(place, name) for name in folders if _is_link(place, name)]
        yield place, names
    starts = links


def _refuse(error: OSError) -> None:
  """Images in a folder that may not be opened would be missing without a word."""
  if not isinstance(error, FileNotFoundError | NotADirectoryError):
    raise ValueError(f"{text.shown(str(error.filename))} cannot be read: {error.strerror}.")


def _is_link(place: str, name: str) -> bool:
  return os.path.islink(os.path.join(place, name))


def _keeps_folder(name: str, walk: Walk) -> bool:
  kind = THUMBNAILS if name.lower() in _THUMBNAIL_FOLDERS else _kind(name)
  walk.left_out[kind] += bool(kind)
  return not kind


def _is_thumbnail(name: str, stems: frozenset[str]) -> bool:
  """Whether a file is a small copy of another one with a stem among `stems` in its folder."""
  stem = pathlib.PurePath(name).stem.lower()
  match = _THUMBNAIL.fullmatch(stem)
  return match is not None and match[1] != stem and match[1] in stems


def _keep(names: Iterable[str], walk: Walk) -> Iterator[str]:
  """The names of a folder's files that count; counts the others."""
  names = list(names)
  stems = frozenset(pathlib.PurePath(name).stem.lower() for name in names)
  for name in names:
    kind = _kind(name) or (THUMBNAILS if _is_thumbnail(name, stems) else "")
    walk.left_out[kind] += bool(kind)
    if not kind:
      yield name


def find(folder: Path) -> Walk:
  """Finds the data files in a folder and below it; nothing if there is no such folder.

  Args:
    folder: A local folder, in which links are followed, or one in a bucket.

  Raises:
    ValueError: A folder may not be opened.
  """
  walk = Walk()
  if paths.is_remote(folder):
    by_folder = collections.defaultdict(list)
    for file in paths.files_below(folder):
      above = file.relative_to(folder).parts[:-1]
      if all(_keeps_folder(name, walk) for name in above):
        by_folder[file.parent].append(file.name)
    pairs = [(place, name) for place, names in by_folder.items() for name in _keep(names, walk)]
    walk.files = sorted(place / name for place, name in pairs)
  else:
    for place, names in _local_folders(folder, walk):
      walk.files += [pathlib.Path(place, name) for name in _keep(names, walk)]
    walk.files.sort()
  walk.left_out = +walk.left_out
  return walk


def describe(left_out: collections.Counter[str]) -> str:
  """The files that were left out, in words, e.g. "4 files left out: 3 hidden, 1 .txt"."""
  parts = (f"{number} {kind}" for kind, number in left_out.most_common())
  total = left_out.total()
  return f"{total} {'file' if total == 1 else 'files'} left out: {', '.join(parts)}"
