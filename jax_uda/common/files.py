"""Files that are written whole or not at all."""

import os
import pathlib


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Writes a text file that is either complete or not there."""
  write_bytes_atomically(path, text.encode())


def write_bytes_atomically(path: pathlib.Path, content: bytes) -> None:
  """Writes a file that is either complete or not there."""
  # A name may be as long as the file system allows, up to four bytes per character.
  temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}.tmp")
  temporary.write_bytes(content)
  os.replace(temporary, path)
