"""The public data sets, from a folder of the user's.

  config.data.source = dict(name="gta5", path="/data/gta5", size=(720, 1280))
  config.data.target = dict(name="dark_zurich", path="/data/dark_zurich", day_images=True)

What lies where is in `layouts`. Once a data set is prepared, its files are not opened again.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import paths, registry
from jax_uda.common.paths import Path
from jax_uda.data import label_spaces
from jax_uda.data.datasets import day_images, from_files, image_files, pairs
from jax_uda.data.datasets.layouts import LAYOUTS, VAL_EVERY, Layout
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.pipeline import rescale

_NO_DAY = image_files.encode_png(
  np.zeros((1, 1, 3), np.uint8)
)  # of images for evaluation; nobody reads it


@dataclasses.dataclass(eq=False, kw_only=True)
class Config(tfds.core.BuilderConfig):
  """What is prepared from where; see `builder`.

  Attributes:
    pairs: The files of each split.
    labelled: Training images have labels; those of a target are not even opened.
  """

  layout: Layout
  root: Path
  field: str
  train: str
  val: str
  labelled: bool
  size: tuple[int, ...]
  day_images: bool
  ignore_invalid: bool

  @functools.cached_property
  def pairs(self) -> dict[str, list[Pair]]:
    """Found when first asked for; raises ValueError as in `pairs.find` and `day_images.add`."""
    found = {}
    if self.train:
      found["train"] = self._find(self.train)
      if not self.labelled:
        found["train"] = [Pair(pair.image) for pair in found["train"]]
      if self.day_images:
        found["train"] = day_images.add(self.root, found["train"], self.layout, self.field)
    every = self.val or self.layout.train
    found["val"] = self._find(every) if self.val else self._find(every)[::VAL_EVERY]
    return found

  def _find(self, split: str) -> list[Pair]:
    found = pairs.find(self.root, split, self.layout, self.field)
    return [pairs.with_mask(pair, self.layout) for pair in found] if self.ignore_invalid else found

  def check_labels(self) -> None:
    """Raises ValueError if the label folder of a split is missing that needs one."""
    is_test = self.val != self.layout.val and self.val.split("/")[-1] == "test"
    needed = {"train": self.labelled, "val": not is_test}
    for split in self.pairs:
      lacking = [pair.image for pair in self.pairs[split] if pair.label is None]
      if needed[split] and lacking:
        advice = {
          "train": "Of a target's training images none are needed: config.data.target, or role=target.",
          "val": "Without them there is no score; only a test split may go without.",
        }[split]
        raise ValueError(
          f"config.{self.field}.path: no folder with the labels of {split} ({len(lacking)} images, e.g. "
          f"{lacking[0]}); expected {self.layout.title}. {advice}"
        )


class Public(from_files.FromFiles, skip_registration=True):
  """Images and labels of a public data set; those for training at a working size."""

  full_size_counts = True

  def __init__(self, name: str, data_dir: Path, config: Config, classes: str):
    self.name = name
    self.label_space = label_spaces.KNOWN[classes]
    self._translation = label_spaces.translation(label_spaces.CITYSCAPES19, self.label_space)
    super().__init__(data_dir, config)

  def _info(self) -> tfds.core.DatasetInfo:
    info = super()._info()
    if not self.builder_config.day_images:
      return info
    day = {"day_image": tfds.features.Image(shape=(None, None, 3), encoding_format="png")}
    features = tfds.features.FeaturesDict({**info.features, **day})
    return tfds.core.DatasetInfo(builder=self, disable_shuffling=True, features=features)

  def read(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Image [H,W,3] and label [h,w] at full size, uint8; raises ValueError as in `pairs.read`."""
    image, label = pairs.read(pair, scaled_labels=self.builder_config.layout.scaled_labels)
    return image, self._translation[label]

  def check_folders(self) -> None:
    """Raises ValueError if a label folder is missing; see `Config.check_labels`."""
    self.builder_config.check_labels()

  def more_fields(self, pair: Pair, size: tuple[int, int]) -> dict[str, bytes]:
    """The day image, if asked for."""
    if not self.builder_config.day_images:
      return {}
    if pair.day is None:
      return {"day_image": _NO_DAY}
    return {
      "day_image": image_files.encode_png(
        rescale.resize_image(image_files.read_image(pair.day), size)
      )
    }


def builder(
  name: str,
  data_dir: Path,
  field: str,
  *,
  path: str,
  train: str = "",
  val: str = "",
  size: Sequence[int] | None = None,
  classes: str = "cityscapes19",
  day_images: bool = False,
  ignore_invalid: bool = False,
  class_stats: str = "",
) -> Public:
  """The data set with these parameters below `data_dir`, prepared or not.

  Args:
    name: One of `layouts.LAYOUTS`.
    data_dir: Where prepared data sets are kept.
    field: Of the config that asks for it. Of `data.target` the labels of training images are not
      opened; of `eval.targets…` there are no training images.
    path: Its folder, as its archives unpack; a prepared data set is found by this name even when the
      folder is gone.
    train: Split for training, e.g. `night/train` of ACDC; empty: the usual one.
    val: Split for evaluation; empty: the usual one, in GTA5 and SYNTHIA every 50th training image.
    size: (height, width) in pixels into which images are fitted, keeping their ratio, and labels for
      training with them; () = as they are, None = as the usual recipes have it.
    classes: One of `label_spaces.KNOWN`.
    day_images: Training images bring the image of the same place by day (Dark Zurich).
    ignore_invalid: Pixels in the masks of invalid pixels do not count (Dark Zurich, ACDC); published
      scores count them.
    class_stats: A `sample_class_stats.json` of the training images to sample by, rather than our counts.

  Raises:
    ValueError: A setting is unknown or does not fit the data set, or there is no such folder.
  """
  layout = LAYOUTS[name]
  registry.lookup(label_spaces.KNOWN, classes, f"{field}.classes")
  for split, key in (("train", train), ("val", val)):
    if key:
      registry.lookup(layout.splits, key, f"{field}.{split}")
  if day_images and not layout.corresp:
    raise ValueError(f"config.{field}.day_images: there are none in {layout.title.split(':')[0]}.")
  if ignore_invalid and not layout.mask_endings:
    raise ValueError(f"config.{field}.ignore_invalid: {layout.title.split(':')[0]} has no masks.")
  root = paths.absolute(path, f"config.{field}.path")
  size = from_files.check_size(layout.size if size is None else size, f"{field}.size")
  if field.startswith("eval.targets"):
    settings = dict(train="", val=val or layout.val, day_images=False)
  else:
    settings = dict(train=train or layout.train, val=val or layout.val, day_images=day_images)
  settings["ignore_invalid"] = ignore_invalid
  labelled = field != "data.target" or not settings["train"]
  config = Config(
    name=from_files.make_name(size, str(root), classes, settings, labelled),
    layout=layout,
    root=root,
    field=field,
    labelled=labelled,
    size=size,
    **settings,
  )
  made = Public(name, data_dir, config, classes)
  if not root.is_dir() and not made.is_prepared:
    raise ValueError(
      f"config.{field}.path = {str(path)!r} is no folder and not prepared; expected {layout.title}."
    )
  made.class_stats = class_stats
  return made


BUILDERS: Mapping[str, functools.partial] = {
  name: functools.partial(builder, name) for name in LAYOUTS
}
