"""What the builders share: the form of an example, and preparation without TensorFlow or chatter."""

import contextlib
import io
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from tqdm import tqdm

from jax_uda.common import paths
from jax_uda.common.paths import Path
from jax_uda.data.datasets import bucket, sources
from jax_uda.data.label_spaces import LabelSpace

# File name, PNG bytes of the RGB image, PNG bytes of the train ids.
Example = tuple[str, bytes, bytes]


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A data set of images and labels; the name of its config stands for all its parameters.

  A subclass says which examples its splits `train` and `val` hold. TFDS writes them to a temporary
  folder that it renames at the end, so a folder with the final name is complete.

  Attributes:
    label_space: The classes.
    class_stats: File of the class counts of the training images; empty: those of the labels.
    stored: Folder of the data set in the bucket `data_dir`; None of a local one.
  """

  VERSION: ClassVar = tfds.core.Version("1.0.0")
  label_space: LabelSpace
  class_stats: str = ""
  stored: Path | None

  def __init__(self, data_dir: Path, config: tfds.core.BuilderConfig):
    self._config = config
    local = bucket.local_folder(data_dir)
    super().__init__(data_dir=local, file_format="array_record")
    self.stored = None
    if paths.is_remote(data_dir):
      self.stored = data_dir / pathlib.Path(self.data_path).relative_to(local)

  @property
  def is_prepared(self) -> bool:
    """Whether it is complete, on this machine or in the bucket."""
    is_here = pathlib.Path(self.data_path).exists()
    return is_here or (self.stored is not None and bucket.read_marker(self.stored) is not None)

  def get_default_builder_config(self) -> tfds.core.BuilderConfig:
    """The config given; TFDS would warn of one that is no default."""
    return self._config

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      disable_shuffling=True,
      features=tfds.features.FeaturesDict(
        {
          "name": tfds.features.Text(),
          "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
          "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
        }
      ),
    )

  def numbered(
    self, split: str, examples: Iterable[Example], total: int
  ) -> Iterator[tuple[int, Any]]:
    """What `_split_generators` returns for a split of `total` examples; shows progress."""
    description = f"preparing {self.name}/{self.builder_config.name}: {split}"
    bar = tqdm(examples, description, total, unit=" images", mininterval=0.5)
    for index, (name, image, label) in enumerate(bar):
      yield index, {"name": name, "image": image, "label": label}

  def find_pairs(self) -> Mapping[str, Sequence[Any]] | None:
    """Split -> its files; None if there are none to be read: it is drawn, or prepared and they are gone."""
    return None

  def find_changes(self) -> sources.Changes | None:
    """What has changed since it was prepared; here nothing, but in data sets made of files."""
    return None

  def write(self, *, skip: bool) -> None:
    """Writes the data set to `data_path`, complete or not at all.

    Args:
      skip: Leave pairs with bad files out; not here, but in data sets that name them.
    """
    del skip
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
      # TFDS prints sizes it does not know, and bars without an end; `numbered` has one.
      tfds.disable_progress_bar()
      with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as unused:
        self.download_and_prepare(download_dir=unused, download_config=settings)
    finally:
      tfds.enable_progress_bar()

  def _generate_examples(self, *args, **kwargs):
    raise NotImplementedError("the splits are generators already")  # abstract in the base class


def prepare(builder: Builder, *, skip: bool = False, renew: bool = False) -> pathlib.Path:
  """Writes the data set unless it is there, and returns its folder on this machine.

  One that belongs in a bucket is copied down from there if it can be, or else copied up.

  Args:
    builder: Of the data set.
    skip: As in `Builder.write`.
    renew: Writes the part anew whose files have changed since.

  Raises:
    ValueError: As in `Builder.write`, or files have changed and `renew` is false.
  """
  folder = pathlib.Path(builder.data_path)
  if builder.stored:
    bucket.fetch(builder.stored, folder)
  changes = builder.find_changes() if folder.exists() else None
  if changes and not renew:
    raise ValueError(
      f"{folder} was prepared from other files than there are now: {changes.number} have changed, e.g. "
      f"{changes.example}. --mode=prepare reads what has changed and keeps the rest."
    )
  if changes or not folder.exists():
    try:
      builder.write(skip=skip)
    except OSError:
      if not folder.exists():  # else another process has prepared it in the meantime
        raise
  if builder.stored:
    bucket.publish(folder, builder.stored)
  return folder
