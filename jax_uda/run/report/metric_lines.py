"""The lines of `metrics.jsonl`: one JSON object per logged step, with a checksum of the line."""

import json
import pathlib
import time
import zlib
from typing import Any, NamedTuple

from jax_uda.common import files

FILE = "metrics.jsonl"
CHECKSUM = "crc"  # the last key of a line; lines of earlier versions have none


class Lines(NamedTuple):
  """What a file of metrics holds.

  Attributes:
    rows: The objects of the lines that are whole, without their checksums.
    damaged: The other lines.
  """

  rows: list[dict[str, Any]]
  damaged: list[bytes]


def _checksum(row: dict[str, Any]) -> str:
  return f"{zlib.crc32(json.dumps(row).encode()):08x}"


def to_line(row: dict[str, Any]) -> str:
  """The line of a row, with its checksum and its end."""
  return json.dumps({**row, CHECKSUM: _checksum(row)}) + "\n"


def _row_of(line: bytes) -> dict[str, Any] | None:
  """The row of a line; None if the line is not what was written."""
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict) or not isinstance(row.get("step"), int):
    return None
  checksum = row.pop(CHECKSUM, None)
  # A damaged key is no checksum; it holds the only text in a row.
  has_text = any(isinstance(value, str) for value in row.values())
  is_whole = not has_text if checksum is None else checksum == _checksum(row)
  return row if is_whole else None


def read(folder: pathlib.Path) -> Lines:
  """The lines of the run in `folder`; none if it has no such file yet."""
  path = folder / FILE
  lines = Lines([], [])
  for line in path.read_bytes().split(b"\n") if path.exists() else ():
    if line.strip():
      row = _row_of(line)
      lines.damaged.append(line) if row is None else lines.rows.append(row)
  return lines


def keep_until(folder: pathlib.Path, last_step: int) -> None:
  """Drops the rows behind a step, and moves lines that cannot be read to a file of their own, said so.

  The beginning of a line at the end of the file is what a kill has left, and is dropped.
  """
  path = folder / FILE
  if not path.exists():
    return
  rows, damaged = read(folder)
  content = path.read_bytes()
  if damaged and not content.endswith(b"\n") and content.endswith(damaged[-1]):
    damaged = damaged[:-1]
  if damaged:
    aside = folder / f"metrics.damaged-{time.strftime('%Y%m%d-%H%M%S')}.jsonl"
    files.write_bytes_atomically(aside, b"\n".join([*damaged, b""]))
    print(
      f"{path} is damaged: {len(damaged)} of its lines cannot be read and lie in {aside.name} now; "
      f"{len(rows)} are kept",
      flush=True,
    )
  kept = [to_line(row) for row in rows if row["step"] <= last_step]
  files.write_atomically(path, "".join(kept))
