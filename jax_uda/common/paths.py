"""Files on this machine and, through etils, in buckets: `gs://`, `s3://` and `az://`."""

import glob
import os
import pathlib
import re
import shutil

import fsspec
from etils import epath
from etils.epath import backend

from jax_uda.common.registry import SettingError

# Scheme -> the package that reads it, and the extra of this project that brings it.
PACKAGES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3"), "az": ("adlfs", "az")}

Path = pathlib.Path | epath.Path


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Whether a path is `<scheme>://…`. The type does not say so: etils has paths of local files, too."""
  return re.match(r"[A-Za-z][\w+.-]*://", os.fspath(path)) is not None


def expanded(text: str | os.PathLike[str], setting: str | tuple[str, ...]) -> pathlib.Path:
  """A local path with `~` expanded.

  Args:
    text: For example `~/gta5`.
    setting: The argument or field that holds the text, for the error.

  Raises:
    SettingError: The path begins with `~`, and this user has no home folder, as in some containers.
  """
  try:
    return pathlib.Path(text).expanduser()
  except RuntimeError:
    raise SettingError(
      setting,
      f"= {os.fspath(text)!r} needs a home folder, and this user has none: give a path without ~, or set "
      "the variable HOME.",
    ) from None


def as_path(text: str | os.PathLike[str], setting: str | tuple[str, ...]) -> Path:
  """A local path, with `~` expanded, or a path in a bucket.

  Args:
    text: For example `~/gta5` or `gs://bucket/gta5`.
    setting: The argument or field that holds the text, for the error, e.g. `"path"`.

  Raises:
    SettingError: The scheme is unknown, or the package for it is not installed.
  """
  if not is_remote(text):
    return expanded(text, setting)
  text = os.fspath(text)
  scheme = text.partition("://")[0]
  if scheme not in PACKAGES:
    known = ", ".join(f"{known}://" for known in PACKAGES)
    raise SettingError(setting, f"= {text!r} must be a local path or begin with {known}.")
  package, extra = PACKAGES[scheme]
  try:
    fsspec.get_filesystem_class(scheme)
  except ImportError as error:
    raise SettingError(
      setting,
      f"= {text!r}: {scheme}:// is read through {package}, which is not installed; "
      f'pip install {package}, or this project with "[{extra}]". ({error})',
    ) from None
  return epath.Path(text)


def absolute(text: str | os.PathLike[str], setting: str | tuple[str, ...]) -> Path:
  """As `as_path`; links and `..` in a local path are resolved."""
  path = as_path(text, setting)
  return path if is_remote(path) else path.resolve()


_MOST_COMMAS = 8  # in the name of one file or folder


def split(text: str) -> list[str]:
  """The names in a list with commas between them; `*` stands for any part of a name.

  A name may hold commas itself if there is such a file or folder: of the names that a part of the list can
  mean, the longest that exists is taken.

  >>> split("a, b/*")
  ['a', 'b/*']
  """
  parts, names = text.split(","), []
  exists = lambda name: os.path.lexists(name) or bool(glob.glob(name))
  while parts:
    for end in range(min(len(parts), _MOST_COMMAS + 1), 0, -1):
      name = ",".join(parts[:end]).strip()
      if end == 1 or exists(os.path.expanduser(name)):
        break
    names.append(name)
    parts = parts[end:]
  return [name for name in names if name]


def files_below(folder: Path, *, follow_links: bool = False) -> list[Path]:
  """Sorted list of all files in a folder and its sub-folders; empty if there is no such folder.

  Args:
    folder: A local folder or one in a bucket.
    follow_links: Whether linked local folders are searched, too.
  """
  if not is_remote(folder):
    walk = os.walk(folder, followlinks=follow_links)
    return sorted(pathlib.Path(place, name) for place, _, names in walk for name in names)
  if not folder.is_dir():
    return []
  # etils' own walk loses the scheme and gives s3fs an argument that it does not know.
  files: list[Path] = []
  top = ""
  for place, _, names in backend.fsspec_backend.fs(folder).walk(str(folder), on_error="raise"):
    top = top or str(place)
    below = folder / str(place)[len(top) :].strip("/")
    files += [below / name for name in names if name]  # "": an object that stands for the folder
  return sorted(files)


def free_bytes(folder: pathlib.Path) -> int:
  """What is free on the disk of a folder, which need not exist yet."""
  folder = folder.absolute()
  there = next(path for path in (folder, *folder.parents) if path.exists())
  return shutil.disk_usage(there).free


def stamp(file: str | os.PathLike[str]) -> list[int] | None:
  """[bytes, time of the last change in ns] of a file, or None if there is no such file.

  For a file in a bucket, both come from the listing that `files_below` asked for, if it did.
  """
  if not is_remote(file):
    try:
      status = os.stat(file)
    except OSError:
      return None
    return [status.st_size, status.st_mtime_ns]
  file_system = backend.fsspec_backend.fs(file)
  try:
    # etils' own stat does not know the times of files in s3:// and az://.
    changed = file_system.modified(os.fspath(file))
    return [int(file_system.size(os.fspath(file)) or 0), round(changed.timestamp() * 1e6) * 1000]
  except (FileNotFoundError, IsADirectoryError):
    return None
