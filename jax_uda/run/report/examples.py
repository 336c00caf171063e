"""Some validation images of the target with their labels and predictions, kept for the report."""

import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.common import state_files
from jax_uda.data.pipeline import rescale

FILE = "examples.npz"
LONGEST = 960  # pixels of a kept image's longer side


class Example(NamedTuple):
  """An image of the report.

  Attributes:
    name: File name of the image.
    image: [H,W,3] uint8 RGB.
    truth: [H,W] uint8 train ids, 255 = ignore.
    predictions: [H,W] uint8 train ids, by network.
  """

  name: str
  image: np.ndarray
  truth: np.ndarray
  predictions: dict[str, np.ndarray]


def _shrunk(example: Example) -> Example:
  """The example, as large as the page shows it."""
  height, width = example.image.shape[:2]
  factor = min(LONGEST / max(height, width), 1)
  size = (max(round(height * factor), 1), max(round(width * factor), 1))
  label = lambda array: rescale.resize_label(array, size)
  predictions = {name: label(array) for name, array in example.predictions.items()}
  return Example(
    example.name, rescale.resize_image(example.image, size), label(example.truth), predictions
  )


def write(folder: pathlib.Path, examples: Sequence[Example]) -> None:
  """Keeps examples in a run's folder, in place of earlier ones."""
  arrays: dict[str, np.ndarray] = {"names": np.array([example.name for example in examples])}
  for index, example in enumerate(map(_shrunk, examples)):
    arrays[f"{index}/image"], arrays[f"{index}/truth"] = example.image, example.truth
    for network, label in example.predictions.items():
      arrays[f"{index}/predictions/{network}"] = label
  state_files.write_arrays(folder / FILE, arrays)


def read(folder: pathlib.Path) -> list[Example]:
  """The examples of a run; none if it has not kept any."""
  arrays = state_files.read_arrays(folder / FILE, "the report has no images")
  return [
    Example(
      str(name),
      arrays[f"{index}/image"],
      arrays[f"{index}/truth"],
      {
        key.rpartition("/")[2]: array
        for key, array in arrays.items()
        if key.startswith(f"{index}/predictions/")
      },
    )
    for index, name in enumerate(arrays.get("names", ()))
  ]
