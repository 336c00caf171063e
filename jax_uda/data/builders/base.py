"""What all builders share: the features, the class counts, and preparing once.

Nothing here needs TensorFlow. A data set is written to a temporary folder that gets its name when it is
complete, so a half-written one is never read.
"""

import contextlib
import pathlib
from collections.abc import Iterator

import numpy as np
import rich.progress
import tensorflow_datasets as tfds

from jax_uda.data.builders.example import Example
from jax_uda.data.label_spaces import LabelSpace


class SegmentationBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Splits `train` and `val` of images and labels; subclasses yield their examples in order."""

  label_space: LabelSpace

  def num_examples(self, split: str) -> int:
    """How many examples `examples` will yield."""
    raise NotImplementedError

  def examples(self, split: str) -> Iterator[Example]:
    """The encoded images of a split."""
    raise NotImplementedError

  def _info(self) -> tfds.core.DatasetInfo:
    features = {
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
      "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
    }
    return tfds.core.DatasetInfo(
      builder=self,
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(features),
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager):
    del dl_manager  # nothing is downloaded
    return {split: self._generate_examples(split) for split in ("train", "val")}

  def _generate_examples(self, split):
    examples = rich.progress.track(
      self.examples(split),
      description=f"preparing {self.info.full_name}, {split}",
      total=self.num_examples(split),
    )
    class_pixels = self.info.metadata[f"{split}_class_pixels"] = []
    for key, example in enumerate(examples):
      class_pixels.append(example.class_pixels)
      yield key, {"image": example.image, "label": example.label}

  def prepare(self) -> None:
    """Writes the data set unless it is there."""
    if pathlib.Path(self.data_dir).exists():
      return
    with _without_tfds_progress():
      self.download_and_prepare(file_format="array_record")

  def class_pixels(self, split: str) -> np.ndarray:
    """[N,C] int64 pixels of each class in each image of a prepared split."""
    return np.array(self.info.metadata[f"{split}_class_pixels"], np.int64)


@contextlib.contextmanager
def _without_tfds_progress():
  """TFDS's four nested bars would say the same as ours."""
  tfds.disable_progress_bar()
  try:
    yield
  finally:
    tfds.enable_progress_bar()
