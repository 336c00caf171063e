"""Pseudo-labels of a target's training images, from the files that a labelling stage has written.

Its folder holds `thresholds.json`, with a checksum of the images' names, and `labels/000000.png`, …: 8-bit
train ids, 255 = ignore, in the order of the training images. They may have another size than the images.
"""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
import PIL.Image

from jax_uda.data.pipeline.examples import Example, Examples

SUMMARY = "thresholds.json"


def label_path(folder: pathlib.Path, index: int) -> pathlib.Path:
  """The file with the labels of training image `index`."""
  return folder / "labels" / f"{index:06d}.png"


def nearest(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H,W] uint8 -> [*size]: the pixel at the centre of each, as Pillow does it."""
  if label.shape == tuple(size):
    return label
  resample = PIL.Image.Resampling.NEAREST
  return np.asarray(PIL.Image.fromarray(label).resize((size[1], size[0]), resample))


class PseudoLabelled(Sequence[Example]):
  """Training images of the target with a `pseudo_label` [H,W] uint8 of each, at the image's size."""

  def __init__(self, examples: Examples, folder: pathlib.Path, stage: str):
    """Takes the images, the labelling stage's folder, and its name for messages.

    Raises:
      ValueError: The stage has not run, is not finished, or has labelled another data set.
    """
    field = f"config.data.pseudo_labels = {stage!r}"
    if not (folder / SUMMARY).is_file():
      raise ValueError(f"{field}: no {SUMMARY} in {folder}; run the stage {stage!r} first.")
    summary = json.loads((folder / SUMMARY).read_text())
    labelled = summary["images"]
    if summary.get("names", examples.names_digest) != examples.names_digest:
      raise ValueError(
        f"{field}: {folder} is for other images than the target has now, or for another order of them; "
        "label this data set in a stage of its own."
      )
    if labelled != len(examples):
      raise ValueError(
        f"{field}: {folder} is for {labelled} images, the target has {len(examples)}; label this data "
        "set in a stage of its own."
      )
    missing = sum(not label_path(folder, i).is_file() for i in range(labelled))
    if missing:
      raise ValueError(
        f"{field}: {missing} of {labelled} label maps are not yet in {folder}; run the stage {stage!r} "
        "again to finish it."
      )
    self._examples, self._folder = examples, folder

  def __len__(self) -> int:
    return len(self._examples)

  def __getitem__(self, index: int) -> Example:
    example = self._examples[index]
    with PIL.Image.open(label_path(self._folder, int(index))) as file:
      label = np.asarray(file)
    return {**example, "pseudo_label": nearest(label, example["image"].shape[:2])}
