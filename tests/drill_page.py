"""The rows of the kills in docs/reliability.md, which the drill writes one by one."""

import collections
import hashlib
from collections.abc import Sequence

import drill_table
import kills
import pytest
from kills import Kill, Place


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
    assert end in drill_table.ENDS, f"{kill}: {end}"
    self._cache.set(_key(kill), [end, seconds])

  def write(self, drilled: Sequence[Kill]) -> None:
    """Writes the row of each command of which all kills have been drilled."""
    by_command: dict[str, list[Kill]] = {}
    for kill in drilled:
      by_command.setdefault(kill.command.name, []).append(kill)
    ends = {str(kill): self._cache.get(_key(kill), None) for kill in drilled}
    rows = {
      name: _cells(own, [ends[str(kill)] for kill in own])
      for name, own in by_command.items()
      if all(ends[str(kill)] for kill in own)
    }
    if rows:
      drill_table.write("kills", rows)


def _key(kill: Kill) -> str:
  return f"kills/{hashlib.sha256(str(kill).encode()).hexdigest()[:16]}"


def _cells(own: Sequence[Kill], ends: Sequence[tuple[str, float]]) -> list[object]:
  signals = collections.Counter(kill.signal for kill in own)
  numbers = collections.Counter(end for end, _ in ends)
  slowest = max(seconds for _, seconds in ends)
  return [
    *(signals[signal] for signal in kills.SIGNALS),
    *(numbers[end] for end in drill_table.ENDS),
    f"{slowest:.1f} s",
  ]
