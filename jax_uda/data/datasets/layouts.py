"""How the public data sets lie on disk: folders, file endings, label ids, working sizes."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from jax_uda.data import label_spaces

CONDITIONS = ("fog", "night", "rain", "snow")


class Part(NamedTuple):
  """An image folder and its label folder, below the root, searched with all folders in them."""

  images: str
  labels: str = ""


class Labels(NamedTuple):
  """A kind of label file.

  Attributes:
    ending: Of the file names; what is left of it is the key that pairs it with an image.
    table: uint8 [256], id in the file -> Cityscapes' train id.
    number: Ids are 0..number-1, or 255; others are errors.
  """

  ending: str
  table: np.ndarray
  number: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
  """A data set on disk.

  Attributes:
    title: What messages call it.
    splits: What a config may ask for -> where that is; the first form whose folders exist, else the
      first whose image folders do.
    image_endings: As `Labels.ending`.
    labels: Kinds of label files, the preferred first.
    size: (height, width) into which the usual recipes fit images; empty: as they are.
    train: Split for training; empty: none, the set serves evaluation only.
    val: Split for evaluation; empty: every `VAL_EVERY`th image of `train`.
    scaled_labels: Labels of another size are good if they have about the ratio of their image.
    mask_endings: Of masks of invalid pixels beside the labels, the preferred first; empty: there are none.
    corresp: Folder of tables of the day image of each night image; empty: there are none.
    days: Where the day images are.
  """

  title: str
  splits: Mapping[str, tuple[tuple[Part, ...], ...]]
  image_endings: tuple[str, ...]
  labels: tuple[Labels, ...]
  size: tuple[int, ...] = ()
  train: str = "train"
  val: str = "val"
  scaled_labels: bool = False
  mask_endings: tuple[str, ...] = ()
  corresp: str = ""
  days: str = ""


VAL_EVERY = 50

_train_ids = lambda ending: Labels(ending, label_spaces.TRAIN_IDS, 19)
_label_ids = lambda ending, number=34: Labels(ending, label_spaces.CITYSCAPES_IDS, number)
_GT = (_train_ids("_gt_labelTrainIds.png"), _label_ids("_gt_labelIds.png"))
_MASKS = ("_gt_invGray.png", "_gt_invIds.png")  # 0 = valid in both


def _acdc_splits() -> dict[str, tuple[tuple[Part, ...], ...]]:
  """`train` is all conditions, `night/train` one of them."""
  splits = {}
  for split in ("train", "val", "test"):
    parts = {c: Part(f"rgb_anon/{c}/{split}", f"gt/{c}/{split}") for c in CONDITIONS}
    splits |= {f"{c}/{split}": ((part,),) for c, part in parts.items()}
    # The second form is that of the reference pipelines, without conditions and sequences.
    splits[split] = (tuple(parts.values()), (Part(f"rgb_anon/{split}", f"gt/{split}"),))
  return splits


def _dark_zurich_splits() -> dict[str, tuple[tuple[Part, ...], ...]]:
  """By night, in the folders of the data set or flattened; `train/day` and `train/twilight`."""
  splits = {f"train/{time}": ((Part(f"rgb_anon/train/{time}"),),) for time in ("day", "twilight")}
  for split in ("train", "val", "test"):
    forms = (f"{split}/night", split)
    splits[split] = tuple((Part(f"rgb_anon/{form}", f"gt/{form}"),) for form in forms)
  return splits


LAYOUTS = {
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
  "cityscapes": Layout(
    title="Cityscapes: leftImg8bit/train/…_leftImg8bit.png, gtFine/train/…_gtFine_labelIds.png",
    splits={
      split: ((Part(f"leftImg8bit/{split}", f"gtFine/{split}"),),)
      for split in ("train", "val", "test")
    },
    image_endings=("_leftImg8bit.png",),
    labels=(_label_ids("_gtFine_labelIds.png"), _train_ids("_gtFine_labelTrainIds.png")),
    size=(512, 1024),
  ),
  "dark_zurich": Layout(
    title="Dark Zurich: rgb_anon/train/night/…_rgb_anon.png, gt/val/night/…_gt_labelTrainIds.png",
    splits=_dark_zurich_splits(),
    image_endings=("_rgb_anon.png",),
    labels=_GT,
    size=(540, 960),
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
}
