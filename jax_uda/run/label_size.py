"""Validation images whose labels are brought to one size before pixels are counted, as RCCR's and VFM-UDA++'s authors do it."""

from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda.data.pipeline import stored_labels
from jax_uda.data.pipeline.examples import sizes_of
from jax_uda.data.pipeline.rescale import Size

Example = Mapping[str, Any]


class LabelsAt(Sequence[Example]):
  """The same examples, with each label [h,w] resized by the nearest pixel."""

  def __init__(self, examples: Sequence[Example], size: Size | int):
    """Takes the examples and the (height, width) of the labels, or the length of their shorter side."""
    self._examples, self._size = examples, size

  def __len__(self) -> int:
    return len(self._examples)

  def sizes(self, name: str = "image") -> list[Size]:
    """(height, width) of a field of all examples."""
    sizes = sizes_of(self._examples, name)
    return [self._new_size(size) for size in sizes] if name == "label" else sizes

  def __getitem__(self, index: int) -> Example:  # pyright: ignore[reportIncompatibleMethodOverride] — no slices
    example = self._examples[index]
    label = example["label"]
    return {**example, "label": stored_labels.nearest(label, self._new_size(label.shape[:2]))}

  def _new_size(self, size: Size) -> Size:
    if not isinstance(self._size, int):
      return self._size
    shorter, longer = min(size), int(self._size * max(size) / min(size))  # as torchvision rounds
    return (self._size, longer) if size[0] == shorter else (longer, self._size)
