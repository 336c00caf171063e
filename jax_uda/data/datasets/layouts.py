"""How data sets lie on disk: folders, file endings, label ids, working sizes.

A `Layout` is all that `from_layout.DataSet` needs. `LAYOUTS` describes the public ones.
"""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jax_uda.data import label_spaces
from jax_uda.data.datasets.image_headers import MAX_PIXELS
from jax_uda.data.label_spaces import CITYSCAPES19, LabelSpace
from jax_uda.data.pipeline.rescale import Size

CONDITIONS = ("fog", "night", "rain", "snow")


class Part(NamedTuple):
  """An image folder and its label folder, relative to the root; sub-folders are searched, too.

  Attributes:
    images: The folder of the images.
    labels: The folder of the label files; empty if there are no labels.
  """

  images: str
  labels: str = ""


class Labels(NamedTuple):
  """A kind of label file.

  Attributes:
    ending: The end of the file names; the rest of the name pairs a label with an image.
    table: uint8 [256] from ids in the file to train ids.
    num_ids: The number of known ids: 0..num_ids-1, and 255. Other ids are errors.
  """

  ending: str
  table: np.ndarray
  num_ids: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """A data set on disk.

  Attributes:
    title: The name in messages, and where an image and a label lie: "GTA5: images/00001.png, …".
    splits: Folders of each split by its name. A split may have several forms: the first form whose
      folders all exist is used, or else the first whose image folders do.
    image_endings: Ends of the image files' names; the rest of the name pairs an image with a label.
    labels: The kinds of label files, the preferred kind first.
    label_space: The classes of the label tables.
    size: (height, width) into which the usual recipes fit images; None leaves them as they are.
    train: The split for training; empty: none, the data set serves evaluation only.
    val: The split for evaluation; empty: every `VAL_EVERY`th image of `train`.
    unlabelled: Splits that may come without a label folder, such as a test set whose labels a server
      keeps.
    scaled_labels: Whether a label may have another size than its image if the ratio is about the same.
    full_size_labels: Whether scores are taken and classes counted at the size of the label files,
      rather than at the working size.
    mask_endings: Ends of the names of masks of invalid pixels beside the labels, the preferred first.
    corresp: The folder of tables that name the day image of each night image; empty: there are none.
    days: The folder of the day images.
    max_image_pixels: Larger images and labels are refused before they are decoded.
  """

  title: str
  splits: Mapping[str, tuple[tuple[Part, ...], ...]]
  image_endings: tuple[str, ...]
  labels: tuple[Labels, ...]
  label_space: LabelSpace = CITYSCAPES19
  size: Size | None = None
  train: str = "train"
  val: str = "val"
  unlabelled: tuple[str, ...] = ()
  scaled_labels: bool = False
  full_size_labels: bool = True
  mask_endings: tuple[str, ...] = ()
  corresp: str = ""
  days: str = ""
  max_image_pixels: int = MAX_PIXELS

  @property
  def short_title(self) -> str:
    """The name alone, without where files lie."""
    return self.title.split(":")[0]


VAL_EVERY = 50


def _train_ids(ending: str) -> Labels:
  return Labels(ending, label_spaces.TRAIN_IDS, 19)


def _label_ids(ending: str, num_ids: int = 34) -> Labels:
  return Labels(ending, label_spaces.CITYSCAPES_IDS, num_ids)


_GT = (_train_ids("_gt_labelTrainIds.png"), _label_ids("_gt_labelIds.png"))
_MASKS = ("_gt_invGray.png", "_gt_invIds.png")  # 0 = valid in both


def _acdc_splits() -> dict[str, tuple[tuple[Part, ...], ...]]:
  """`train` stands for all conditions, `night/train` for one of them."""
  splits: dict[str, tuple[tuple[Part, ...], ...]] = {}
  for split in ("train", "val", "test"):
    parts = {c: Part(f"rgb_anon/{c}/{split}", f"gt/{c}/{split}") for c in CONDITIONS}
    splits |= {f"{c}/{split}": ((part,),) for c, part in parts.items()}
    # The second form is that of the reference pipelines, without conditions and sequences.
    splits[split] = (tuple(parts.values()), (Part(f"rgb_anon/{split}", f"gt/{split}"),))
  return splits


def _dark_zurich_splits() -> dict[str, tuple[tuple[Part, ...], ...]]:
  """Night images, in the folders of the data set or flattened; also `train/day` and `train/twilight`."""
  splits: dict[str, tuple[tuple[Part, ...], ...]] = {
    f"train/{time}": ((Part(f"rgb_anon/train/{time}"),),) for time in ("day", "twilight")
  }
  for split in ("train", "val", "test"):
    forms = (f"{split}/night", split)
    splits[split] = tuple((Part(f"rgb_anon/{form}", f"gt/{form}"),) for form in forms)
  return splits


LAYOUTS: dict[str, Layout] = {
  "gta5": Layout(
    title="GTA5: images/00001.png, labels/00001.png",
    splits={"train": ((Part("images", "labels"),),)},
    image_endings=(".png",),
    labels=(_label_ids(".png", 35), _train_ids("_labelTrainIds.png")),  # 34: licence plate
    size=(720, 1280),
    val="",
    scaled_labels=True,
  ),
  "synthia": Layout(
    title="SYNTHIA (RAND_CITYSCAPES): RGB/*.png, GT/LABELS/*.png",
    splits={"train": ((Part("RGB", "GT/LABELS"),),)},
    image_endings=(".png",),
    labels=(Labels(".png", label_spaces.SYNTHIA_IDS, 23), _train_ids("_labelTrainIds.png")),
    size=(760, 1280),
    val="",
  ),
  "synscapes": Layout(
    title="Synscapes: img/rgb/1.png (or img/rgb-2k/1.png), img/class/1.png",
    # The larger images first, on which VFM-UDA++ trains.
    splits={"train": ((Part("img/rgb-2k", "img/class"),), (Part("img/rgb", "img/class"),))},
    image_endings=(".png",),
    labels=(_label_ids(".png", 256),),  # Cityscapes' ids and others, which are ignored
    size=(720, 1440),
    val="",
    scaled_labels=True,
  ),
  "cityscapes": Layout(
    title="Cityscapes: leftImg8bit/train/…_leftImg8bit.png, gtFine/train/…_gtFine_labelIds.png",
    splits={
      split: ((Part(f"leftImg8bit/{split}", f"gtFine/{split}"),),)
      for split in ("train", "val", "test")
    },
    image_endings=("_leftImg8bit.png",),
    labels=(_label_ids("_gtFine_labelIds.png"), _train_ids("_gtFine_labelTrainIds.png")),
    size=(512, 1024),
    unlabelled=("test",),
  ),
  "dark_zurich": Layout(
    title="Dark Zurich: rgb_anon/train/night/…_rgb_anon.png, gt/val/night/…_gt_labelTrainIds.png",
    splits=_dark_zurich_splits(),
    image_endings=("_rgb_anon.png",),
    labels=_GT,
    size=(540, 960),
    unlabelled=("test",),
    mask_endings=_MASKS,
    corresp="corresp",
    days="rgb_anon/train/day",
  ),
  "acdc": Layout(
    title="ACDC: rgb_anon/night/train/…_rgb_anon.png, gt/night/train/…_gt_labelTrainIds.png",
    splits=_acdc_splits(),
    image_endings=("_rgb_anon.png",),
    labels=_GT,
    size=(540, 960),
    unlabelled=("test", *(f"{condition}/test" for condition in CONDITIONS)),
    mask_endings=_MASKS,
  ),
  "nighttime_driving": Layout(
    title=(
      "Nighttime Driving: leftImg8bit/test/night/…_leftImg8bit.png, "
      "gtCoarse_daytime_trainvaltest/test/night/…_gtCoarse_labelTrainIds.png"
    ),
    splits={"test": ((Part("leftImg8bit/test", "gtCoarse_daytime_trainvaltest/test"),),)},
    image_endings=("_leftImg8bit.png",),
    labels=(_train_ids("_gtCoarse_labelTrainIds.png"), _label_ids("_gtCoarse_labelIds.png")),
    size=(540, 960),
    train="",
    val="test",
  ),
  "bdd100k": Layout(
    title="BDD100K (10k): images/10k/train/*.jpg, labels/sem_seg/masks/train/*.png",
    splits={
      split: ((Part(f"images/10k/{split}", f"labels/sem_seg/masks/{split}"),),)
      for split in ("train", "val", "test")
    },
    image_endings=(".jpg",),
    labels=(_train_ids(".png"),),
    unlabelled=("test",),
  ),
  "mapillary": Layout(
    title="Mapillary Vistas 1.2: training/images/*.jpg, training/labels/*.png",
    splits={  # release 2.0 brings the labels of 1.2 in a folder of their own
      split: tuple((Part(f"{split}/images", f"{split}/{of}labels"),) for of in ("", "v1.2/"))
      for split in ("training", "validation")
    },
    image_endings=(".jpg",),
    labels=(Labels(".png", label_spaces.MAPILLARY_IDS, 66),),
    train="training",
    val="validation",
  ),
  "wilddash2": Layout(
    title="WildDash 2 (the split of VFM-UDA): val/images/*.jpg, val/labels/*.png",
    splits={split: ((Part(f"{split}/images", f"{split}/labels"),),) for split in ("train", "val")},
    image_endings=(".jpg",),
    labels=(_label_ids(".png", 256),),  # Cityscapes' ids and others, which are ignored
    size=(540, 960),
  ),
}
