"""What all data sets share: the form of a stored example, and preparation without TensorFlow or chatter."""

import collections
import contextlib
import io
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jax_uda.common import disk_errors, lock, paths
from jax_uda.common.paths import Path
from jax_uda.data.datasets import bucket, seal, shards, sources
from jax_uda.data.datasets.sources import HasFiles
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import rescale


class Encoded(NamedTuple):
  """An example as a data set stores it: a file name, and PNG bytes of the RGB image and the train ids."""

  name: str
  image: bytes
  label: bytes


class Info(tfds.core.DatasetInfo):
  """What TFDS knows of a data set."""

  def initialize_from_bucket(self) -> None:
    """Looks for nothing in TFDS' bucket, and leaves no temporary folder of that search behind."""

  def read_from_directory(self, dataset_info_dir: Any) -> None:
    """Takes what a prepared folder says of itself; where it is damaged, nothing: who reads it says so."""
    with contextlib.suppress(Exception):  # of protobuf, JSON and the file system
      super().read_from_directory(dataset_info_dir)


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
    return Info(builder=self, disable_shuffling=True, features=tfds.features.FeaturesDict(features))

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

  def find_twin(self) -> pathlib.Path | None:
    """The folder of the same data set, prepared from the same files in another place; None: none."""
    return None

  @property
  def reading(self) -> Reading:
    """How the images of this domain are read from files, e.g. for a prediction."""
    return Reading()

  def left_out(self) -> Mapping[str, collections.Counter[str]]:
    """Split -> kind -> how many files of its folders are not read; empty if it is not known."""
    return {}

  def check_classes(self, counts: np.ndarray) -> None:
    """Raises SettingError if the training labels lack a class that they should have.

    Args:
      counts: [N,C] pixels of each class in each training label.
    """
    del counts

  def write(self, *, skip: bool, repair: bool = False) -> None:
    """Writes the data set to `data_path`, complete or not at all.

    Args:
      skip: Whether pairs with bad files are left out; only data sets made of files have such pairs.
      repair: Whether a damaged data set is there, which is written again.
    """
    del skip
    folder = pathlib.Path(self.data_path)
    with lock.hold_folder(folder, "a data set is being drawn"):
      for unfinished in folder.parent.glob(f"incomplete.*_{folder.name}"):
        shutil.rmtree(unfinished, ignore_errors=True)
      if repair:
        shutil.rmtree(folder)
      if not folder.exists():  # else another process has done it in the meantime
        self._write_here()
        seal.write(folder)

  def _write_here(self) -> None:
    settings = tfds.download.DownloadConfig(try_download_gcs=False)
    try:
      # TFDS prints sizes that it does not know, and bars without an end; `numbered` has one.
      tfds.disable_progress_bar()
      with contextlib.redirect_stdout(io.StringIO()), self._folder_beside() as unused:
        self.download_and_prepare(download_dir=unused, download_config=settings)
    finally:
      tfds.enable_progress_bar()

  def _folder_beside(self) -> tempfile.TemporaryDirectory:
    """A temporary folder where the data set is written: /tmp may be full."""
    place = pathlib.Path(self.data_path).parent
    place.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(dir=place, prefix="incomplete.", suffix=f"_{self.VERSION}")

  def _generate_examples(self, *args, **kwargs):
    raise NotImplementedError("the splits are generators already")  # abstract in the base class


def prepare(
  builder: Builder, *, skip: bool = False, renew: bool = False, repair: bool = False
) -> pathlib.Path:
  """Writes a data set unless it is there, and returns its folder on this machine.

  A data set that belongs in a bucket is copied down from there, or else written here and copied up.

  Args:
    builder: The data set.
    skip: Whether pairs with bad files are left out rather than refused; see `Builder.write`.
    renew: Whether parts whose source files have changed are written anew.
    repair: Whether a damaged data set is written anew; all its records are read to find damages.

  Raises:
    seal.DamagedDataError: The data set is damaged, and `repair` is false.
    ValueError: A file cannot be used and `skip` is false, or files have changed and `renew` is false.
  """
  folder = pathlib.Path(builder.data_path)
  if builder.stored:
    bucket.fetch(builder.stored, folder)
  elif not folder.exists() and (twin := builder.find_twin()):
    print(
      f"{folder.parent.name}: its files were prepared before, in another place: {twin}", flush=True
    )
    return twin
  if folder.exists():
    _check(builder, folder, skip, repair)
  changes = builder.find_changes() if folder.exists() else None
  if changes and not renew:
    raise ValueError(
      f"{folder} was prepared from other files than there are now: {changes.number} have changed, e.g. "
      f"{changes.example}. --mode=prepare reads what has changed and keeps the rest."
    )
  was_there = folder.exists()
  if changes or not was_there:
    try:
      builder.write(skip=skip)
    except Exception as error:  # the libraries that write records have errors of their own
      code = disk_errors.code_of(error)
      if code is None and not isinstance(error, OSError):
        raise
      if was_there or not folder.exists():  # else another process has prepared it in the meantime
        problem = f"{os.strerror(code)}; {disk_errors.ADVICE[code]}" if code else str(error)
        raise OSError(
          f"the prepared data set {folder} cannot be written: {problem}. config.data.dir (--data_dir) "
          "chooses the place"
        ) from error
  if renew:
    shards.remove_partial(folder)
  if builder.stored:
    bucket.publish(folder, builder.stored)
  return folder


def _check(builder: Builder, folder: pathlib.Path, skip: bool, repair: bool) -> None:
  """Raises DamagedDataError if the data set in `folder` is damaged; with `repair`, writes it again."""
  try:
    seal.check(folder)
    if not repair:
      return
    damaged = seal.damaged_records(folder)
    if not damaged:
      print(f"{folder} is whole", flush=True)
      return
    raise seal.DamagedDataError(folder, damaged[0], "a record cannot be read")
  except seal.DamagedDataError as error:
    if not repair:
      raise
    print(f"repairing {folder}: {error.file} is damaged", flush=True)
  if builder.stored and bucket.read_marker(builder.stored):
    shutil.rmtree(folder)
    bucket.fetch(builder.stored, folder)
    if not seal.is_damaged(folder):
      return
  builder.write(skip=skip, repair=True)
