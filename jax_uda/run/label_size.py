"""Validation images whose labels are brought to one size before pixels are counted, as RCCR's authors do it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda.data.pipeline import stored_labels
from jax_uda.data.pipeline.examples import sizes_of
from jax_uda.data.pipeline.rescale import Size

Example = Mapping[str, Any]


class LabelsAt(Sequence[Example]):
  """The same examples, with each label [h,w] resized to `size` by the nearest pixel."""

  def __init__(self, examples: Sequence[Example], size: Size):
    """Takes the examples and the (height, width) of the labels."""
    self._examples, self._size = examples, size

  def __len__(self) -> int:
    return len(self._examples)

  def sizes(self, name: str = "image") -> list[Size]:
    """(height, width) of a field of all examples."""
    return [self._size] * len(self) if name == "label" else sizes_of(self._examples, name)

  def __getitem__(self, index: int) -> Example:  # pyright: ignore[reportIncompatibleMethodOverride] — no slices
    example = self._examples[index]
    return {**example, "label": stored_labels.nearest(example["label"], self._size)}
