"""Files of tensorboardX that are given up where they cannot be written.

tensorboardX writes in a thread. An error would end that thread, and the run would wait for it forever.
"""

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator

PREFIX = "optional"  # in front of the paths that `register` returns


def register(folder: pathlib.Path) -> str:
  """The name of a folder for tensorboardX, which opens the files there as `OptionalFile`.

  Raises:
    ImportError: tensorboardX is not installed.
  """
  from tensorboardX import record_writer

  record_writer.register_writer_factory(PREFIX, _Factory())
  return f"{PREFIX}:{folder}"


def _place(name: str) -> pathlib.Path:
  """The path behind a name for tensorboardX."""
  return pathlib.Path(name.removeprefix(f"{PREFIX}:"))


class _Factory:
  """What tensorboardX asks for a folder and for a file."""

  def directory_check(self, name: str) -> None:
    with contextlib.suppress(OSError):  # the file says what is wrong
      _place(name).mkdir(parents=True, exist_ok=True)

  def open(self, name: str) -> "OptionalFile":
    return OptionalFile(_place(name))


class OptionalFile:
  """A file that takes bytes; its first error is said, and what comes after that is dropped."""

  def __init__(self, path: pathlib.Path):
    """Makes the file."""
    self._path = path
    self._file: io.FileIO | None = None
    with self._giving_up():
      self._file = path.open("wb", buffering=0)  # a buffer would be written again at its end

  @contextlib.contextmanager
  def _giving_up(self) -> Iterator[None]:
    """Says an error of the disk in its body, and drops the file."""
    try:
      yield
    except OSError as error:
      print(f"no more events for TensorBoard: {self._path}: {error.strerror}", flush=True)
      self._file = None

  def write(self, data: bytes) -> None:
    """Adds bytes."""
    rest = memoryview(data)
    with self._giving_up():
      while self._file and rest:
        rest = rest[self._file.write(rest) :]

  def flush(self) -> None:
    """Makes the bytes last after a loss of power."""
    with self._giving_up():
      if self._file:
        os.fsync(self._file.fileno())

  def close(self) -> None:
    """Closes the file."""
    with self._giving_up():
      if self._file:
        self._file.close()
