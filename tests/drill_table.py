"""Tables of docs/reliability.md that parts of the drill write: each part its rows, between two marks."""

import collections
import contextlib
import fcntl
import pathlib
import re
from collections.abc import Collection, Iterator, Mapping

import damage

PAGE = pathlib.Path(__file__).parents[1] / "docs" / "reliability.md"
ENDS = (damage.SAME, damage.PREVIOUS, damage.SENTENCE)


class Counts:
  """How often each kind of fault ended in which way."""

  def __init__(self):
    """Starts with none."""
    self._ends: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)

  def add(self, kind: str, end: str) -> None:
    """Notes an end.

    Raises:
      AssertionError: It is none of `ENDS`.
    """
    assert end in ENDS, f"{kind}: {end}"
    self._ends[kind][end] += 1

  def write(self, mark: str, numbers: Mapping[str, int]) -> None:
    """Writes the rows of those kinds that were drilled as often as `numbers` says."""
    write(
      mark,
      {
        kind: [counts.total(), *(counts[end] for end in ENDS)]
        for kind, counts in self._ends.items()
        if counts.total() == numbers[kind]
      },
    )


def write(mark: str, rows: Mapping[str, Collection[object]]) -> None:
  """Puts rows, by their first cells, in the place of those of the same name or behind the others."""
  with _alone():
    text = PAGE.read_text()
    begin, table, end = re.split(f"(?<=<!-- {mark} -->\n)|(?=<!-- /{mark} -->)", text)
    lines = {line.split("|")[1].strip(): line for line in table.splitlines()}
    lines |= {name: f"| {' | '.join(map(str, (name, *cells)))} |" for name, cells in rows.items()}
    PAGE.write_text(begin + "".join(f"{line}\n" for line in lines.values()) + end)


@contextlib.contextmanager
def _alone() -> Iterator[None]:
  """Keeps other workers of pytest from writing the page at the same time."""
  with PAGE.open() as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield
