"""Pseudo-labels of a target's training images, from the files that a labelling stage has written.

The folder of that stage holds `thresholds.json`, with a checksum of the images' names, and
`labels/000000.png`, …: 8-bit train ids, 255 = ignore, in the order of the training images. They may have
another size than the images.
"""

import pathlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import PIL.Image

from jax_uda.common import state_files
from jax_uda.common.registry import SettingError
from jax_uda.data.datasets import image_files
from jax_uda.data.pipeline.examples import TargetExample
from jax_uda.data.pipeline.rescale import Size

SUMMARY = "thresholds.json"


def label_path(folder: pathlib.Path, index: int) -> pathlib.Path:
  """The file with the labels of training image `index`."""
  return folder / "labels" / f"{index:06d}.png"


def read_summary(folder: pathlib.Path) -> dict[str, Any]:
  """What `thresholds.json` in the folder of a labelling stage says.

  Raises:
    state_files.DamagedFileError: The file is not what was written.
  """
  purpose = "it says which images and which network the pseudo-labels are of; remove it, and run the stage again"
  return state_files.read_json(folder / SUMMARY, dict, purpose)


def nearest(label: np.ndarray, size: Size) -> np.ndarray:
  """Resizes [H,W] uint8 to [*size]: takes the pixel at the centre of each new pixel, as Pillow does."""
  if label.shape == tuple(size):
    return label
  resample = PIL.Image.Resampling.NEAREST
  return np.asarray(PIL.Image.fromarray(label).resize((size[1], size[0]), resample))


def _read_label(path: pathlib.Path) -> np.ndarray:
  """Reads [H,W] uint8; raises DamagedFileError if the file is not what was written."""
  try:
    label = image_files.read_values(path)  # compares checksums, as Pillow alone does not
    if label.ndim != 2 or label.dtype != np.uint8:
      raise ValueError("it is no label map")
  except ValueError as error:
    purpose = "it holds the pseudo-labels of a training image; remove it, and run the stage again"
    raise state_files.DamagedFileError(path, str(error).rstrip("."), purpose) from None
  return label


class NamedImages(Protocol):
  """Training images of a target whose order can be checked; usually `TargetExamples`."""

  @property
  def names_digest(self) -> str:
    """Hash of the ordered file names."""
    ...

  def __len__(self) -> int: ...

  def __getitem__(self, index: int, /) -> TargetExample: ...


class PseudoLabelled(Sequence[TargetExample]):
  """Training images of a target, each with a `pseudo_label` uint8 [H,W] of the image's size."""

  def __init__(self, examples: NamedImages, folder: pathlib.Path, stage: str):
    """Takes the images, the folder of the labelling stage, and the name of the stage for messages.

    Raises:
      SettingError: The stage has not run, is not finished, or has labelled another data set. The path
        is that of the setting `pseudo_labels`, which names the stage.
    """
    problem = _problem(examples, folder, stage)
    if problem:
      raise SettingError("pseudo_labels", f"= {stage!r}: {problem}")
    self._examples, self._folder = examples, folder

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(  # pyright: ignore[reportIncompatibleMethodOverride] — no slices
    self, index: int
  ) -> TargetExample:
    example = self._examples[index]
    label = _read_label(label_path(self._folder, int(index)))
    height, width = example["image"].shape[:2]
    return {**example, "pseudo_label": nearest(label, (height, width))}


def _problem(examples: NamedImages, folder: pathlib.Path, stage: str) -> str:
  """Why the labels in `folder` are not those of the images; empty if they are."""
  if not (folder / SUMMARY).is_file():
    return f"no {SUMMARY} in {folder}; run the stage {stage!r} first."
  summary = read_summary(folder)
  labelled = summary["images"]
  if summary.get("names", examples.names_digest) != examples.names_digest:
    return (
      f"{folder} is for other images than the target has now, or for another order of them; label this "
      "data set in a stage of its own."
    )
  if labelled != len(examples):
    return (
      f"{folder} is for {labelled} images, the target has {len(examples)}; label this data set in a "
      "stage of its own."
    )
  missing = sum(not label_path(folder, i).is_file() for i in range(labelled))
  if missing:
    return (
      f"{missing} of {labelled} label maps are not yet in {folder}; run the stage {stage!r} again to "
      "finish it."
    )
  return ""
