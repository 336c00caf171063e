"""What all data sets share: the form of a stored example, and preparation without TensorFlow or chatter."""

import contextlib
import io
import pathlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow_datasets as tfds
from tqdm import tqdm

from jax_uda.common import paths
from jax_uda.common.paths import Path
from jax_uda.data.datasets import bucket, sources
from jax_uda.data.datasets.sources import HasFiles
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import rescale


class Encoded(NamedTuple):
  """An example as a data set stores it: a file name, and PNG bytes of the RGB image and the train ids."""

  name: str
  image: bytes
  label: bytes


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """A data set of images and labels. The name of its config stands for all its parameters.

  A subclass says which examples its splits `train` and `val` hold. TFDS writes them to a temporary
  folder and renames that at the end, so a folder with the final name is complete.

  Attributes:
    label_space: The classes of the labels.
    class_stats: A file with the class counts of the training images; empty: counts come from the labels.
    stored: The folder of the data set in the bucket `data_dir`; None if `data_dir` is local.
  """

  VERSION = tfds.core.Version("1.0.0")
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
  def image_bound(self) -> rescale.Size | None:
    """(height, width) into which images are fitted when the data set is prepared; None: they keep their size."""
    return None

  @property
  def is_complete(self) -> bool:
    """Whether a complete copy is on this machine or in the bucket."""
    is_here = pathlib.Path(self.data_path).exists()
    return is_here or (self.stored is not None and bucket.read_marker(self.stored) is not None)

  def get_default_builder_config(self) -> tfds.core.BuilderConfig:
    """The config of this object; TFDS would warn of a config that is not the default."""
    return self._config

  def _info(self) -> tfds.core.DatasetInfo:
    return self._describe({})

  def _describe(self, more_features: Mapping[str, Any]) -> tfds.core.DatasetInfo:
    """What TFDS is told: the features of every data set, and `more_features`."""
    features = {
      "name": tfds.features.Text(),
      "image": tfds.features.Image(shape=(None, None, 3), encoding_format="png"),
      "label": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
      **more_features,
    }
    return tfds.core.DatasetInfo(
      builder=self, disable_shuffling=True, features=tfds.features.FeaturesDict(features)
    )

  def numbered(
    self, split: str, examples: Iterable[Encoded], total: int
  ) -> Iterator[tuple[int, dict[str, Any]]]:
    """What `_split_generators` returns for a split of `total` examples; shows a progress bar."""
    description = f"preparing {self.name}/{self._config.name}: {split}"
    bar = tqdm(examples, description, total, unit=" images", mininterval=0.5)
    for index, example in enumerate(bar):
      yield index, example._asdict()

  def find_pairs(self) -> Mapping[str, Sequence[HasFiles]] | None:
    """Source files of each split.

    Returns:
      None if the data set is drawn, or if it is prepared and its files no longer exist.
    """
    return None

  def find_changes(self) -> sources.Changes | None:
    """How the source files differ from those that the prepared data set was made of; None: not at all."""
    return None

  def write(self, *, skip: bool) -> None:
    """Writes the data set to `data_path`, complete or not at all.

    Args:
      skip: Whether pairs with bad files are left out; only data sets made of files have such pairs.
    """
    del skip
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
      # TFDS prints sizes that it does not know, and bars without an end; `numbered` has one.
      tfds.disable_progress_bar()
      with contextlib.redirect_stdout(io.StringIO()), tempfile.TemporaryDirectory() as unused:
        self.download_and_prepare(download_dir=unused, download_config=settings)
    finally:
      tfds.enable_progress_bar()

  def _generate_examples(self, *args, **kwargs):
    raise NotImplementedError("the splits are generators already")  # abstract in the base class


def prepare(builder: Builder, *, skip: bool = False, renew: bool = False) -> pathlib.Path:
  """Writes a data set unless it is there, and returns its folder on this machine.

  A data set that belongs in a bucket is copied down from there, or else written here and copied up.

  Args:
    builder: The data set.
    skip: Whether pairs with bad files are left out rather than refused; see `Builder.write`.
    renew: Whether parts whose source files have changed are written anew.

  Raises:
    ValueError: A file cannot be used and `skip` is false, or files have changed and `renew` is false.
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
