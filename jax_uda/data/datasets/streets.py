"""The drawn streets as a data set."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import registry
from jax_uda.common.paths import Path
from jax_uda.data import label_spaces, streets
from jax_uda.data.datasets import base, drawing

FIRST_VAL_INDEX = (
  1_000_000  # so that num_train changes neither the validation scenes nor meets them
)


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  """Which scenes are drawn; see `builder`."""

  domain: str
  seed: int
  size: tuple[int, int]
  num_train: int
  num_val: int


class Streets(base.Builder, skip_registration=True):
  """Drawn once, read afterwards."""

  def __init__(self, data_dir: Path, config: Config, classes: str):
    self.label_space = label_spaces.KNOWN[classes]
    self._train_ids: np.ndarray | None = None  # of the labels as drawn; None: they are kept
    if self.label_space is not label_spaces.CAMVID11:
      self._train_ids = label_spaces.translation(label_spaces.CAMVID11, self.label_space)
    super().__init__(data_dir, config)

  def _split_generators(self, dl_manager):
    config = self.builder_config
    splits = {"train": range(config.num_train)}
    splits["val"] = range(FIRST_VAL_INDEX, FIRST_VAL_INDEX + config.num_val)
    return {
      split: self.numbered(split, self._draw(indices), len(indices))
      for split, indices in splits.items()
    }

  def _draw(self, indices: range) -> Iterator[base.Example]:
    config = self.builder_config
    scenes = drawing.draw(config.domain, config.seed, indices, config.size, self._train_ids)
    for index, (image, label) in zip(indices, scenes, strict=True):
      yield str(index), image, label


def builder(
  data_dir: Path,
  field: str,
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
    data_dir: Where prepared data sets are kept.
    field: Of the config that asks for it; for messages.
    domain: One of `streets.DOMAINS`.
    seed: Scene i depends on (domain, seed, i) alone.
    size: (height, width) in pixels.
    num_train: Number of training scenes; they are scenes 0, 1, ...
    num_val: Number of validation scenes; they are scenes 1,000,000, ...
    classes: One of `label_spaces.KNOWN`, into which the labels of the drawn classes are translated.

  Raises:
    ValueError: The domain or the classes are unknown, or a number is out of range.
  """
  registry.lookup(dict.fromkeys(streets.DOMAINS), domain, f"{field}.domain")
  if not (0 < num_train <= FIRST_VAL_INDEX and 0 < num_val <= FIRST_VAL_INDEX):
    raise ValueError(
      f"config.{field}: num_train = {num_train} and num_val = {num_val} must be between 1 and "
      f"{FIRST_VAL_INDEX}."
    )
  registry.lookup(label_spaces.KNOWN, classes, f"{field}.classes")
  height, width = size
  name = f"{domain}-{height}x{width}-seed{seed}-train{num_train}-val{num_val}-v{streets.VERSION}"
  if classes != "camvid11":
    name = f"{classes}-{name}"
  config = Config(
    name=name,
    domain=domain,
    seed=seed,
    size=(height, width),
    num_train=num_train,
    num_val=num_val,
  )
  return Streets(data_dir, config, classes)
