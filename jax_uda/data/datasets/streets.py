"""The drawn streets as a data set."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import registry
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces, streets
from jax_uda.data.datasets import base, drawing
from jax_uda.data.roles import Role

# The validation scenes begin here, so that `num_train` neither changes them nor reaches them.
FIRST_VAL_INDEX = 1_000_000


@dataclasses.dataclass(eq=False, kw_only=True)
class Scenes(tfds.core.BuilderConfig):
  """Which scenes are drawn; the fields are the arguments of `builder`."""

  domain: str
  seed: int
  size: tuple[int, int]
  num_train: int
  num_val: int


class Streets(base.Builder, skip_registration=True):
  """A data set of streets that are drawn when it is prepared, and read afterwards."""

  def __init__(self, data_dir: Path, scenes: Scenes, classes: str):
    self.label_space = label_spaces.KNOWN[classes]
    self._train_ids: np.ndarray | None = None  # of the labels as drawn; None: they are kept
    if self.label_space is not label_spaces.CAMVID11:
      self._train_ids = label_spaces.translation(label_spaces.CAMVID11, self.label_space)
    self._scenes = scenes
    super().__init__(data_dir, scenes)

  @property
  def image_bound(self) -> tuple[int, int]:
    """The size at which streets are drawn, and into which photographs are fitted."""
    return self._scenes.size

  def _split_generators(self, dl_manager: tfds.download.DownloadManager):
    splits = {"train": range(self._scenes.num_train)}
    splits["val"] = range(FIRST_VAL_INDEX, FIRST_VAL_INDEX + self._scenes.num_val)
    return {
      split: self.numbered(split, self._draw(indices), len(indices))
      for split, indices in splits.items()
    }

  def _draw(self, indices: range) -> Iterator[base.Encoded]:
    scenes = self._scenes
    drawn = drawing.draw(scenes.domain, scenes.seed, indices, scenes.size, self._train_ids)
    for index, (image, label) in zip(indices, drawn, strict=True):
      yield base.Encoded(str(index), image, label)


def builder(
  data_dir: Path,
  role: Role,
  *,
  domain: str,
  seed: int = 0,
  size: tuple[int, int] = (96, 128),
  num_train: int = 800,
  num_val: int = 200,
  classes: str = "camvid11",
) -> Streets:
  """The data set with these parameters below `data_dir`, prepared or not.

  Args:
    data_dir: The folder of all prepared data sets.
    role: What the data set is used for. The drawn data set is the same in all roles; labels of a
      target do not reach training, because its training images are read without them.
    domain: One of `streets.DOMAINS`.
    seed: The seed; scene i depends on (domain, seed, i) alone.
    size: (height, width) in pixels.
    num_train: The number of training scenes; they are scenes 0, 1, …
    num_val: The number of validation scenes; they are scenes 1,000,000, …
    classes: One of `label_spaces.KNOWN`, into which the labels of the drawn classes are translated.

  Raises:
    SettingError: The domain or the classes are unknown, or a number is out of range.
  """
  del role
  registry.lookup(dict.fromkeys(streets.DOMAINS), domain, ("domain",))
  if not (0 < num_train <= FIRST_VAL_INDEX and 0 < num_val <= FIRST_VAL_INDEX):
    raise SettingError(
      (),
      f": num_train = {num_train} and num_val = {num_val} must be between 1 and {FIRST_VAL_INDEX}.",
    )
  registry.lookup(label_spaces.KNOWN, classes, ("classes",))
  height, width = size
  name = f"{domain}-{height}x{width}-seed{seed}-train{num_train}-val{num_val}-v{streets.VERSION}"
  if classes != "camvid11":
    name = f"{classes}-{name}"
  scenes = Scenes(
    name=name,
    domain=domain,
    seed=seed,
    size=(height, width),
    num_train=num_train,
    num_val=num_val,
  )
  return Streets(data_dir, scenes, classes)
