"""Files that are written whole or not at all."""

import os
import pathlib


def write_atomically(path: pathlib.Path, text: str) -> None:
  """Writes a text file that is either complete or not there."""
  temporary = path.with_name(path.name + ".tmp")
  temporary.write_text(text)
  os.replace(temporary, path)
