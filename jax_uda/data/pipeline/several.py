"""Several data sets as one domain: how often each of them is drawn."""

import bisect
import hashlib
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from jax_uda.data.pipeline.examples import sizes_of
from jax_uda.data.pipeline.rescale import Size


class Several(Sequence[Any]):
  """The examples of several data sets, one set after another.

  Attributes:
    parts: The data sets.
    shares: How often each is drawn, proportional numbers; None: as often as it has images.
  """

  def __init__(self, parts: Sequence[Any], shares: Sequence[float] | None = None):
    """Takes the data sets, in order, and their shares."""
    self.parts, self.shares = tuple(parts), shares and tuple(shares)
    self._ends = list(itertools.accumulate(len(part) for part in self.parts))

  def __len__(self) -> int:
    return self._ends[-1]

  def __getitem__(self, index: int) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] — no slices
    if not 0 <= index < len(self):
      raise IndexError(f"example {index} of {len(self)}")
    number = bisect.bisect_right(self._ends, index)
    return self.parts[number][index - self.start(number)]

  def start(self, number: int) -> int:
    """The index of the first example of a part."""
    return self._ends[number] - len(self.parts[number])

  def draw_part(self, rng: np.random.Generator) -> int:
    """The number of a part, drawn by its share or its size."""
    weights = self.shares or [len(part) for part in self.parts]
    cumulative = np.cumsum(weights)
    return int(np.searchsorted(cumulative / cumulative[-1], rng.random(), side="right"))

  @property
  def class_counts(self) -> np.ndarray | None:
    """[N,C] int64 pixels of each class in each label; None if a part does not know them."""
    counts = [getattr(part, "class_counts", None) for part in self.parts]
    known = [count for count in counts if count is not None]
    return np.concatenate(known) if len(known) == len(counts) else None

  @property
  def fields(self) -> tuple[str, ...]:
    """The fields that all parts have."""
    first, *others = (part.fields for part in self.parts)
    return tuple(name for name in first if all(name in fields for fields in others))

  @property
  def names(self) -> list[str]:
    """The file names in order; empty if a part was not built from files."""
    names = [part.names for part in self.parts]
    return list(itertools.chain(*names)) if all(names) else []

  @property
  def names_digest(self) -> str:
    """Hash of the ordered file names; empty if a part was not built from files."""
    digests = [part.names_digest for part in self.parts]
    return hashlib.sha256("".join(digests).encode()).hexdigest()[:16] if all(digests) else ""

  def sizes(self, name: str = "image") -> list[Size]:
    """(height, width) of a field of all examples."""
    return list(itertools.chain(*(sizes_of(part, name) for part in self.parts)))


def join(parts: Sequence[Any], shares: Sequence[float] | None = None) -> Any:
  """The parts as one; a single part is returned as it is."""
  return parts[0] if len(parts) == 1 else Several(parts, shares)
