"""Files on this machine and, through etils, in buckets: `gs://`, `s3://` and `az://`."""

import os
import pathlib
import re

import fsspec
from etils import epath
from etils.epath import backend

# Scheme -> the package that reads it, and the extra of this project that brings it.
PACKAGES = {"gs": ("gcsfs", "gcs"), "s3": ("s3fs", "s3"), "az": ("adlfs", "az")}

Path = pathlib.Path | epath.Path


def is_remote(path: str | os.PathLike[str]) -> bool:
  """Whether it is `<scheme>://…`; etils has paths of local files, too."""
  return re.match(r"[A-Za-z][\w+.-]*://", os.fspath(path)) is not None


def as_path(text: str | os.PathLike[str], setting: str) -> Path:
  """A local path, with `~` expanded, or one in a bucket.

  Args:
    text: E.g. `~/gta5` or `gs://bucket/gta5`.
    setting: Where it stands, e.g. `config.data.source.path`, for messages.

  Raises:
    ValueError: The scheme is unknown, or the package for it is not installed.
  """
  if not is_remote(text):
    return pathlib.Path(text).expanduser()
  text = os.fspath(text)
  scheme = text.partition("://")[0]
  if scheme not in PACKAGES:
    known = ", ".join(f"{known}://" for known in PACKAGES)
    raise ValueError(f"{setting} = {text!r} must be a local path or begin with {known}.")
  package, extra = PACKAGES[scheme]
  try:
    fsspec.get_filesystem_class(scheme)
  except ImportError as error:
    raise ValueError(
      f"{setting} = {text!r}: {scheme}:// is read through {package}, which is not installed; "
      f'pip install {package}, or this project with "[{extra}]". ({error})'
    ) from None
  return epath.Path(text)


def absolute(text: str | os.PathLike[str], setting: str) -> Path:
  """As `as_path`, with links and `..` of a local path resolved."""
  path = as_path(text, setting)
  return path if is_remote(path) else path.resolve()


def files_below(folder: Path, *, follow_links: bool = False) -> list[Path]:
  """All files in a folder and the folders in it, in order; none if there is no such folder.

  Args:
    folder: Local or in a bucket.
    follow_links: Look into linked local folders.
  """
  if not is_remote(folder):
    walk = os.walk(folder, followlinks=follow_links)
    return sorted(pathlib.Path(place, name) for place, _, names in walk for name in names)
  if not folder.is_dir():
    return []
  # etils' own walk loses the scheme and gives s3fs an argument that it does not know.
  found, top = [], None
  for place, _, names in backend.fsspec_backend.fs(folder).walk(str(folder), on_error="raise"):
    top = place if top is None else top
    below = folder / place[len(top) :].strip("/")
    found += [below / name for name in names if name]  # "": an object that stands for the folder
  return sorted(found)


def stamp(file: str | os.PathLike[str]) -> list[int] | None:
  """[bytes, time of change in ns] of a file; None: there is none.

  In a bucket it comes from the listing that `files_below` has asked for, if it has.
  """
  if not is_remote(file):
    try:
      status = os.stat(file)
    except OSError:
      return None
    return [status.st_size, status.st_mtime_ns]
  file_system = backend.fsspec_backend.fs(file)
  try:
    # etils' own stat knows no time of files in s3:// and az://.
    changed = file_system.modified(os.fspath(file))
    return [file_system.size(os.fspath(file)), round(changed.timestamp() * 1e6) * 1000]
  except (FileNotFoundError, IsADirectoryError):
    return None
