"""Public data sets of a few tiny images, in their real folders and encodings.

Every label is 10x20 with raw ids in its columns; `ids` below are those of all classes, then others.
"""

import pathlib

import cv2
import numpy as np
import PIL.Image

SIZE = (10, 20)
CITYSCAPES = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33, 0)
SYNTHIA = (3, 4, 2, 21, 5, 7, 15, 9, 6, 16, 1, 10, 17, 8, 18, 19, 20, 12, 11, 22)
MAPILLARY = (41, 15, 17, 6, 3, 47, 48, 50, 30, 29, 27, 19, 22, 55, 61, 54, 58, 57, 52, 65)
TRAIN_IDS = (*range(19), 255)


def columns(ids, size=SIZE, dtype=np.uint8) -> np.ndarray:
  """A label whose columns hold these ids."""
  return np.tile(np.array(ids, dtype), (size[0], 1))


def write_image(path: pathlib.Path, seed: int = 0, size=SIZE) -> np.ndarray:
  """A random image; returns it as RGB (of a PNG)."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
  assert cv2.imwrite(str(path), image[..., ::-1])
  return image


def write_grey(path: pathlib.Path, label: np.ndarray) -> None:
  path.parent.mkdir(parents=True, exist_ok=True)
  assert cv2.imwrite(str(path), label)


def write_palette(path: pathlib.Path, label: np.ndarray) -> None:
  """As GTA5's labels: indices of a palette of colors."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = PIL.Image.frombytes("P", label.shape[::-1], label.tobytes())
  image.putpalette([(7 * i + 13) % 256 for i in range(768)])
  image.save(path)


def write_red16(path: pathlib.Path, label: np.ndarray) -> None:
  """As SYNTHIA's labels: 16-bit red, and instances in green."""
  path.parent.mkdir(parents=True, exist_ok=True)
  instances = np.full_like(label, 3000, np.uint16)
  assert cv2.imwrite(
    str(path), np.stack([instances * 0, instances, label.astype(np.uint16)], axis=-1)
  )


def gta5(root: pathlib.Path, number: int = 3) -> None:
  for i in range(1, number + 1):
    write_image(root / f"images/{i:05d}.png", i)
    write_palette(root / f"labels/{i:05d}.png", columns(CITYSCAPES))


def synthia(root: pathlib.Path) -> None:
  for i in range(3):
    write_image(root / f"RGB/{i:07d}.png", i)
    write_red16(root / f"GT/LABELS/{i:07d}.png", columns(SYNTHIA))


def synscapes(root: pathlib.Path) -> None:
  for i in range(1, 4):
    write_image(root / f"img/rgb-2k/{i}.png", i)
    write_grey(root / f"img/class/{i}.png", columns(CITYSCAPES))


def cityscapes(root: pathlib.Path, kind: str = "labelIds") -> None:
  ids = {"labelIds": CITYSCAPES, "labelTrainIds": TRAIN_IDS}[kind]
  for split, city in (("train", "ulm"), ("train", "bochum"), ("val", "lindau")):
    stem = f"{split}/{city}/{city}_000000_000019"
    write_image(root / f"leftImg8bit/{stem}_leftImg8bit.png")
    write_grey(root / f"gtFine/{stem}_gtFine_{kind}.png", columns(ids))
    write_image(root / f"gtFine/{stem}_gtFine_color.png")
  write_image(root / "leftImg8bit/test/bonn/bonn_000000_000019_leftImg8bit.png")


def _ground_truth(root: pathlib.Path, folder: str, stem: str) -> None:
  write_grey(root / f"gt/{folder}/{stem}_gt_labelTrainIds.png", columns(TRAIN_IDS))
  write_grey(root / f"gt/{folder}/{stem}_gt_labelIds.png", columns(CITYSCAPES))
  invalid = np.zeros(SIZE, np.uint8)
  invalid[:2] = 255
  write_grey(root / f"gt/{folder}/{stem}_gt_invGray.png", invalid)


def dark_zurich(root: pathlib.Path, flat: bool = False) -> None:
  """Night images 1 and 2 have the day images 8 and 7."""
  folder = lambda split, time, seq: split if flat else f"{split}/{time}/{seq}"
  for i in (1, 2):
    write_image(root / "rgb_anon" / folder("train", "night", "N1") / f"N1_{i}_rgb_anon.png", i)
  _ground_truth(root, folder("val", "night", "N9"), "N9_1")
  write_image(root / "rgb_anon" / folder("val", "night", "N9") / "N9_1_rgb_anon.png")
  if not flat:
    for i in (7, 8):
      write_image(root / f"rgb_anon/train/day/D1/D1_{i}_rgb_anon.png", i)
    table = root / "corresp/train/night/N1.csv"
    table.parent.mkdir(parents=True)
    rows = ("night,day", "rgb_anon/train/night/N1/N1_1_rgb_anon.png,rgb_anon/train/day/D1/D1_8")
    table.write_text("\n".join((*rows, "N1_2_rgb_anon, D1_7_rgb_anon.png, 3.5")))


def acdc(root: pathlib.Path, flat: bool = False) -> None:
  for condition in ("fog", "night", "rain", "snow"):
    for split in ("train", "val"):
      folder = split if flat else f"{condition}/{split}/GP01"
      stem = f"GP01_{condition}"
      write_image(root / f"rgb_anon/{folder}/{stem}_rgb_anon.png")
      write_image(root / f"rgb_anon/{folder}_ref/{stem}_rgb_ref_anon.png")
      _ground_truth(root, folder, stem)


def nighttime_driving(root: pathlib.Path) -> None:
  write_image(root / "leftImg8bit/test/night/a_leftImg8bit.png")
  ground_truth = root / "gtCoarse_daytime_trainvaltest/test/night"
  write_grey(ground_truth / "a_gtCoarse_labelTrainIds.png", columns(TRAIN_IDS))


def bdd100k(root: pathlib.Path) -> None:
  for split in ("train", "val"):
    write_image(root / f"images/10k/{split}/b1.jpg")
    write_grey(root / f"labels/sem_seg/masks/{split}/b1.png", columns(TRAIN_IDS))
    write_image(root / f"labels/sem_seg/colormaps/{split}/b1.png")


def mapillary(root: pathlib.Path) -> None:
  for split in ("training", "validation"):
    write_image(root / f"{split}/images/m1.jpg")
    write_palette(root / f"{split}/labels/m1.png", columns(MAPILLARY))
    write_image(root / f"{split}/instances/m1.png")


def wilddash2(root: pathlib.Path) -> None:
  for split in ("train", "val"):
    write_image(root / f"{split}/images/w1.jpg")
    write_grey(root / f"{split}/labels/w1.png", columns(CITYSCAPES))
