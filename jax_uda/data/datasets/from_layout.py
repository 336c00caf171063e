"""Data sets that a `Layout` describes: the public ones, and those of one's own.

  config.data.source = dict(name="gta5", path="/data/gta5", size=(720, 1280))
  config.data.target = dict(name="dark_zurich", path="/data/dark_zurich", day_images=True)
  config.data.target = dict(name="my_module:farm", path="~/farm")  # farm = DataSet("farm", …)

Once a data set is prepared, its files are not opened again.
"""

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import tensorflow_datasets as tfds

from jax_uda.common import paths, registry, text
from jax_uda.common.paths import Path
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces
from jax_uda.data.datasets import day_images as days
from jax_uda.data.datasets import from_files, image_files, pairs, stores
from jax_uda.data.datasets.image_files import Reading
from jax_uda.data.datasets.layouts import VAL_EVERY, Layout
from jax_uda.data.datasets.pairs import Pair
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.data.pipeline.rescale import Size
from jax_uda.data.roles import Role

# The day image of images for evaluation, which nobody reads.
_NO_DAY = image_files.encode_png(np.zeros((1, 1, 3), np.uint8))

Selections = str | Sequence[str]  # a split, a split and the beginning of file names, or several


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Parts:
  """What is read of a layout.

  Attributes:
    layout: How the data set lies on disk.
    root: Its folder.
    train: Selections for training; empty: there is no training split.
    val: Selections for evaluation; empty: every `VAL_EVERY`th image of the layout's training split.
    labelled: Whether training images have labels.
    day_images: Whether training images bring their day images.
    ignore_invalid: Whether pixels in the masks of invalid pixels are ignored.
  """

  layout: Layout
  root: Path
  train: Selections
  val: Selections
  labelled: bool
  day_images: bool
  ignore_invalid: bool

  def __post_init__(self):
    """Raises SettingError for files that the layout does not have."""
    if self.day_images and not self.layout.corresp:
      raise SettingError("day_images", f": there are none in {self.layout.short_title}.")
    if self.ignore_invalid and not self.layout.mask_endings:
      raise SettingError("ignore_invalid", f": {self.layout.short_title} has no masks.")

  def find(self) -> dict[str, list[Pair]]:
    """Finds the files of each split; raises ValueError as `pairs.find` and `day_images.add` do."""
    splits = {}
    if self.train:
      splits["train"] = self._select(self.train)
      if not self.labelled:
        splits["train"] = [Pair(pair.image) for pair in splits["train"]]
      if self.day_images:
        splits["train"] = days.add(self.root, splits["train"], self.layout)
    if self.val:
      splits["val"] = self._select(self.val)
    else:
      splits["val"] = self._select(self.layout.train)[::VAL_EVERY]
    return splits

  def left_out(self) -> dict[str, collections.Counter[str]]:
    """Split -> kind -> the number of files that are left out of its folders."""
    selections = {"train": self.train, "val": self.val or self.layout.train}
    counts = {}
    for name, selected in selections.items():
      splits = dict.fromkeys(split for split, _ in _resolve(selected or (), self.layout))
      each = (pairs.left_out(self.root, split, self.layout) for split in splits)
      counts[name] = sum(each, collections.Counter())
    return counts

  def _select(self, selections: Selections) -> list[Pair]:
    selected = [
      pair
      for split, prefix in _resolve(selections, self.layout)
      for pair in pairs.find(self.root, split, self.layout, prefix=prefix)
    ]
    if self.ignore_invalid:
      return [pairs.with_mask(pair, self.layout) for pair in selected]
    return selected

  def check_labels(self, splits: from_files.Splits) -> None:
    """Raises SettingError if the label folder of a split is missing that needs one."""
    resolved = [split for split, _ in _resolve(self.val, self.layout)] if self.val else [""]
    needed = {
      "train": self.labelled,
      "val": not set(resolved) <= set(self.layout.unlabelled),
    }
    advice = {
      "train": "Training images of a target need none: config.data.target, or role=target.",
      "val": "Without them there is no score; only a test split may go without.",
    }
    for split, split_pairs in splits.items():
      lacking = [pair.image for pair in split_pairs if pair.label is None]
      if needed[split] and lacking:
        raise SettingError(
          "path",
          f": no folder with the labels of {split} ({len(lacking)} images, e.g. "
          f"{text.shown(lacking[0])}); expected {self.layout.title}. {advice[split]}",
        )


def _resolve(selections: Selections, layout: Layout) -> list[tuple[str, str]]:
  """The split and the beginning of file names of each selection.

  Raises:
    SettingError: A selection begins with no split of the layout.
  """
  resolved = []
  for selection in (selections,) if isinstance(selections, str) else selections:
    splits = [key for key in layout.splits if f"{selection}/".startswith(f"{key}/")]
    split = max(splits, key=len, default=selection)
    registry.lookup(layout.splits, split, ())
    resolved.append((split, selection[len(split) + 1 :]))
  return resolved


class FromLayout(from_files.FromFiles, skip_registration=True):
  """A data set in a layout; images for training have a working size."""

  def __init__(
    self,
    name: str,
    data_dir: Path,
    settings: from_files.Config,
    label_space: LabelSpace,
    parts: _Parts,
  ):
    self._parts = parts
    super().__init__(name, data_dir, settings, label_space)

  def _info(self) -> tfds.core.DatasetInfo:
    image = lambda: tfds.features.Image(shape=(None, None, 3), encoding_format="png")
    return self._describe({"day_image": image()} if self._parts.day_images else {})

  @property
  def reading(self) -> Reading:
    """How images are read: with the limit of the layout."""
    return Reading(max_pixels=self._parts.layout.max_image_pixels)

  def left_out(self) -> Mapping[str, collections.Counter[str]]:
    """Split -> kind -> how many files of its folders are not read."""
    return self._parts.left_out()

  def check_folders(self) -> None:
    """Raises SettingError if a label folder is missing."""
    self._parts.check_labels(self.settings.pairs)

  def more_fields(self, pair: Pair, size: Size) -> dict[str, bytes]:
    """The day image, if asked for."""
    if not self._parts.day_images:
      return {}
    if pair.day is None:
      return {"day_image": _NO_DAY}
    day = image_files.read_image(pair.day, self.reading)
    if self.settings.store == "original":
      return {"day_image": from_files.file_bytes(pair.day, day)}
    return {"day_image": image_files.encode_png(rescale.resize_image(day, size))}


def _classes(layout: Layout, name: str) -> tuple[LabelSpace, str]:
  """The label space of that name (empty: the layout's own), and what prepared folders call it."""
  if name:
    return registry.lookup(label_spaces.KNOWN, name, ("classes",)), name
  space = layout.label_space
  known = (key for key, known in label_spaces.KNOWN.items() if known is space)
  return space, next(known, ",".join(space.names))


def _folder_name(
  root: str, parts: _Parts, role: Role, size: Size | None, classes: str, digest: bool
) -> str:
  """The name under which a data set with these settings is prepared; see `from_files.make_name`.

  `root` is the folder of the data set, in place of that of `parts`.

  The public data sets have two forms, for historical reasons: settings with one split by its name, and
  tuples of selections.
  """
  labels = []
  if digest:  # ids that change their meaning make another data set
    tables = [(kind.ending, kind.num_ids, kind.table.tolist()) for kind in parts.layout.labels]
    labels = [hashlib.sha256(repr(tables).encode()).hexdigest()]
  extras = dict(day_images=parts.day_images, ignore_invalid=parts.ignore_invalid)
  if isinstance(parts.train, str) and isinstance(parts.val, str):
    settings = dict(train=parts.train, val=parts.val, **extras)
    return from_files.make_name(size, root, classes, settings, parts.labelled, *labels)
  selections = {"train": parts.train, "val": parts.val} if parts.train else {"val": parts.val}
  more = [extras] if any(extras.values()) else []
  return from_files.make_name(size, root, selections, role is Role.TARGET, classes, *more, *labels)


@dataclasses.dataclass(frozen=True)
class DataSet:
  """A data set that a layout describes; a call with the arguments of a config makes its builder.

  Attributes:
    name: The name of the data set and of its prepared folder: lower-case letters, digits, underscores.
    layout: Where images and labels lie, and what the ids in the label files mean.
    digest: Whether the meaning of label ids is a part of the prepared folder's name, so that a change
      prepares the data set anew. False only for data sets that were prepared before this existed.
  """

  name: str
  layout: Layout
  digest: bool = True

  def __call__(
    self,
    data_dir: Path,
    role: Role,
    *,
    path: str,
    train: Selections = "",
    val: Selections = "",
    size: Sequence[int] | None = None,
    classes: str = "",
    day_images: bool = False,
    ignore_invalid: bool = False,
    class_stats: str = "",
    store: str = "auto",
  ) -> FromLayout:
    """The data set with these parameters below `data_dir`, prepared or not.

    Args:
      data_dir: The folder of all prepared data sets.
      role: What the data set is used for. Labels of a target's training images are not opened; for
        evaluation there are no training images.
      path: The folder of the data set, as its archives unpack. A prepared data set is found by this
        name even when the folder is gone.
      train: The split for training, e.g. `night/train` of ACDC; a split and the beginning of file
        names, e.g. `train/0016E5` of CamVid; or a tuple of these. Empty: the usual split.
      val: The split or selections for evaluation. Empty: the usual split; in GTA5 and SYNTHIA every
        50th training image.
      size: (height, width) in pixels into which images, and labels for training with them, are
        fitted, keeping their ratio; () leaves them as they are, None is the size of the usual recipes.
      classes: One of `label_spaces.KNOWN`, to which labels are translated; empty: the layout's own.
      day_images: Whether training images bring the image of the same place by day (Dark Zurich).
      ignore_invalid: Whether pixels in the masks of invalid pixels are ignored (Dark Zurich, ACDC);
        published scores count them.
      class_stats: A `sample_class_stats.json` of the training images to sample rare classes by, in
        place of our counts.
      store: One of `stores.STORES`: whether images are stored resized or as their files are.

    Raises:
      SettingError: A setting is unknown or does not fit the data set, or there is no such folder.
    """
    layout = self.layout
    space, classes = _classes(layout, classes)
    for split, selections in (("train", train), ("val", val)):
      with registry.within(split):
        _resolve(selections or (), layout)
    train = (train or layout.train) if role.is_trained_on else ""
    parts = _Parts(
      layout=layout,
      root=paths.absolute(path, "path"),
      train=train,
      val=val or layout.val,
      labelled=role is not Role.TARGET or not train,
      day_images=day_images,
      ignore_invalid=ignore_invalid,
    )
    if not role.is_trained_on:
      parts = dataclasses.replace(parts, day_images=False)
    bound = from_files.check_size(size) if size is not None else layout.size
    name_at = lambda root: _folder_name(root, parts, role, bound, classes, self.digest)
    settings = from_files.Config(
      name=name_at(str(parts.root)),
      root=str(parts.root),
      name_at=name_at,
      find=parts.find,
      read=_reader(layout, space),
      size=bound,
      full_size_scores=layout.full_size_labels,
      full_size_counts=layout.full_size_labels,
    )
    make = lambda settings: FromLayout(self.name, data_dir, settings, space, parts)
    dataset = stores.choose(make, settings, store)
    if not parts.root.is_dir() and not dataset.is_complete:
      raise SettingError(
        "path", f"= {str(path)!r} is no folder and not prepared; expected {layout.title}."
      )
    dataset.class_stats = class_stats
    return dataset


def _reader(layout: Layout, space: LabelSpace) -> Callable[[Pair], tuple[np.ndarray, np.ndarray]]:
  """The function that reads a pair of a layout with labels in the classes of `space`."""
  translation = label_spaces.translation(layout.label_space, space)

  def read(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    image, label = pairs.read(
      pair, scaled_labels=layout.scaled_labels, max_pixels=layout.max_image_pixels
    )
    return image, translation[label]

  return read
