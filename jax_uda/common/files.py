"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
import re
import shutil
import socket
from collections.abc import Iterator

from jax_uda.common import disk_errors

# `.NAME.HOST.PID.tmp`: a file that a process has not finished. Earlier versions left the host out.
_TEMPORARY = re.compile(r"\..+\.\d+\.tmp")
_OF_A_PROCESS = re.compile(r"\..+\.([^.]+)\.(\d+)\.(tmp|partial)")  # a file or a folder


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Writes a text file in UTF-8 that is either complete or not there; see `write_bytes_atomically`."""
  write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: pathlib.Path, content: bytes) -> None:
  """Writes a file that is either complete or not there, also after a loss of power.

  Raises:
    OSError: The file cannot be written, e.g. because the disk is full; an earlier one stays as it was.
  """
  with replacing(path) as temporary, temporary.open("wb") as file:
    file.write(content)
    file.flush()
    os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
  """A temporary file beside `path`, for the caller to write; it takes the place of `path` at the end.

  After an error it is removed, and an earlier `path` stays as it was.

  Raises:
    OSError: It cannot be written; the error names `path`.
  """
  temporary = unfinished(path, "tmp")
  try:
    with disk_errors.naming(path, temporary):
      yield temporary
      os.replace(temporary, path)
  except BaseException:
    with contextlib.suppress(OSError):
      temporary.unlink(missing_ok=True)
    raise
  sync_folder(path.parent)


def unfinished(path: pathlib.Path, ending: str) -> pathlib.Path:
  """Where this process writes a file ("tmp") or a folder ("partial") that is to become `path`."""
  # A name may have 255 bytes, so that there is no room for another one around it.
  name = os.fsencode(path.name)[:150].decode(errors="ignore")
  return path.with_name(f".{name}.{_host()}.{os.getpid()}.{ending}")


def _host() -> str:
  return re.sub(r"\W+", "-", socket.gethostname())[:40]


def sync_folder(folder: pathlib.Path) -> None:
  """Makes renames in a folder last after a loss of power, where the file system can do so."""
  with contextlib.suppress(OSError):
    descriptor = os.open(folder, os.O_RDONLY)
    try:
      os.fsync(descriptor)
    finally:
      os.close(descriptor)


def sync(folder: pathlib.Path) -> None:
  """Makes the files in a folder (not below it) last after a loss of power."""
  for file in folder.iterdir():
    if file.is_file():
      with file.open("rb") as reader, contextlib.suppress(OSError):
        os.fsync(reader.fileno())
  sync_folder(folder)


def remove_unfinished(folder: pathlib.Path) -> list[pathlib.Path]:
  """Removes what killed processes left half-written in a folder (not below it); returns what it was.

  Only for a caller that no other process writes beside; see `lock`.
  """
  removed = []
  for file in sorted(folder.iterdir()) if folder.is_dir() else ():
    if _TEMPORARY.fullmatch(file.name) and file.is_file():
      with contextlib.suppress(OSError):
        file.unlink()
        removed.append(file)
  return removed


def remove_abandoned(folder: pathlib.Path) -> None:
  """Removes what processes of this host that have ended left half-written in a folder (not below it).

  For a folder into which others may write at the same time.
  """
  for path in sorted(folder.iterdir()) if folder.is_dir() else ():
    match = _OF_A_PROCESS.fullmatch(path.name)
    if match and match[1] == _host() and not _is_alive(int(match[2])):
      with contextlib.suppress(OSError):
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_alive(pid: int) -> bool:
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  except OSError:  # of another user
    return True
  return True
