"""The tables of docs/reliability.md that the drill writes, row by row."""

import collections
import contextlib
import fcntl
import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence

import damage
import kills
import pytest
from kills import Kill, Place

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "reliability.md"
ENDS = (damage.SAME, damage.PREVIOUS, damage.SENTENCE)


class Counts:
  """How the kills of each command ended when they were drilled last.

  pytest's cache remembers it, so that the kills of one command may be drilled in several calls.
  """

  def __init__(self, cache: pytest.Cache):
    """Takes pytest's cache."""
    self._cache = cache

  def drill(self, kill: Kill, place: Place) -> None:
    """Drills a kill and notes its end.

    Raises:
      AssertionError: It ended in a way in which nothing may end.
    """
    self._cache.set(_key(kill), None)
    end, seconds = kills.drill(kill, place)
    assert end in ENDS, f"{kill}: {end}"
    self._cache.set(_key(kill), [end, seconds])

  def write(self, drilled: Sequence[Kill]) -> None:
    """Writes the row of each command of which all kills have been drilled."""
    by_command: dict[str, list[Kill]] = {}
    for kill in drilled:
      by_command.setdefault(kill.command.name, []).append(kill)
    ends = {str(kill): self._cache.get(_key(kill), None) for kill in drilled}
    rows = {
      name: _row(name, own, [ends[str(kill)] for kill in own])
      for name, own in by_command.items()
      if all(ends[str(kill)] for kill in own)
    }
    if rows:
      _replace(rows)


def _key(kill: Kill) -> str:
  return f"kills/{hashlib.sha256(str(kill).encode()).hexdigest()[:16]}"


def _row(name: str, own: Sequence[Kill], ends: Sequence[tuple[str, float]]) -> str:
  signals = collections.Counter(kill.signal for kill in own)
  numbers = collections.Counter(end for end, _ in ends)
  cells = [*(signals[signal] for signal in kills.SIGNALS), *(numbers[end] for end in ENDS)]
  slowest = max(seconds for _, seconds in ends)
  return f"| {name} | {' | '.join(map(str, cells))} | {slowest:.1f} s |"


def _replace(rows: Mapping[str, str]) -> None:
  """Puts rows in the place of those with the same first cell, or behind the others."""
  with _alone():
    text = PAGE.read_text()
    begin, table, end = re.split("(?<=<!-- kills -->\n)|(?=<!-- /kills -->)", text)
    lines = {line.split("|")[1].strip(): line for line in table.splitlines()}
    PAGE.write_text(begin + "".join(f"{line}\n" for line in {**lines, **rows}.values()) + end)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
  """Keeps other workers of pytest from writing the page at the same time."""
  with PAGE.open() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
