"""A folder of images and labels with one file of each kind that goes wrong for people."""

import io
import os
import pathlib

import numpy as np
import PIL.Image
import tifffile

SIZE = (32, 48)
CLASSES = ("soil", "crop", "weed", "stone")  # there is no stone


def picture(seed: int = 0, size: tuple[int, int] = SIZE) -> tuple[np.ndarray, np.ndarray]:
  """An image uint8 [H,W,3] and its label uint8 [H,W] of three classes."""
  rows, columns = np.mgrid[: size[0], : size[1]]
  label = ((columns // 12 + rows // 8 + seed) % 3).astype(np.uint8)
  colors = np.array([(110, 80, 50), (40, 150, 60), (190, 170, 60)])
  noise = np.random.default_rng(seed).integers(-20, 20, (*size, 3))
  return (colors[label] + noise).clip(0, 255).astype(np.uint8), label


def save(file: pathlib.Path, array: np.ndarray, **settings) -> pathlib.Path:
  """Writes an image by the ending of its name, with the folders above it."""
  file.parent.mkdir(parents=True, exist_ok=True)
  if file.suffix in (".tif", ".tiff"):
    tifffile.imwrite(file, array, **settings)
  else:
    PIL.Image.fromarray(array).save(file, **settings)
  return file


def exif(orientation: int) -> PIL.Image.Exif:
  """Metadata of an image with this orientation."""
  metadata = PIL.Image.Exif()
  metadata[274] = orientation
  return metadata


def _images(images: pathlib.Path, labels: pathlib.Path) -> int:
  """Pairs whose image cannot be used; returns their number."""
  image, label = picture(1)
  for name in ("cut.jpg", "middle.jpg", "empty.png", "web.png", "flipped.png", "five_bands.tif"):
    save((labels / name).with_suffix(".png"), label)
  data = save(images / "cut.jpg", image, quality=95).read_bytes()
  (images / "cut.jpg").write_bytes(data[: len(data) // 2])
  middle = len(data) // 2
  (images / "middle.jpg").write_bytes(data[:middle] + bytes(30) + data[middle + 30 :])
  (images / "empty.png").write_bytes(b"")
  (images / "web.png").write_bytes(b"<!DOCTYPE html><title>404 Not Found</title>")
  data = bytearray(save(images / "flipped.png", image).read_bytes())
  data[len(data) // 2] ^= 1
  (images / "flipped.png").write_bytes(data)
  five = np.repeat(image[..., :1], 5, -1)
  save(images / "five_bands.tif", five, photometric="minisblack", planarconfig="contig")
  turned = np.ascontiguousarray(np.rot90(image))
  save(images / "turned.jpg", turned, exif=exif(6))
  save(labels / "turned.png", turned[..., 0] // 255)
  return 7


def _labels(images: pathlib.Path, labels: pathlib.Path) -> int:
  """Pairs whose label cannot be used; returns their number."""
  image, label = picture(2)
  for name in ("none", "jpeg", "size", "id", "colors", "fraction"):
    save(images / f"{name}.png", image)
  save(labels / "jpeg.jpg", label)
  save(labels / "size.png", label[:-1])
  save(labels / "id.png", label + 7)
  save(labels / "colors.png", image)
  save(labels / "fraction.tif", label + np.float32(0.5))
  return 6


def make(root: pathlib.Path) -> int:
  """Makes `images` and `labels` below `root`; returns the number of pairs that cannot be used."""
  images, labels = root / "images", root / "labels"
  for seed in range(3):
    image, label = picture(seed)
    save(images / f"good_{seed}.png", image)
    save(labels / f"good_{seed}.png", label)
  image, label = picture(3)
  save(images / "upside_down.jpg", np.ascontiguousarray(image[::-1, ::-1]), exif=exif(3))
  save(labels / "upside_down.png", label)
  save(images / "dark.tif", (image.astype(np.uint16) * 4 + 200), photometric="rgb")
  save(labels / "dark.tif", label.astype(np.float32))
  long, short = np.zeros((2, 4000, 3), np.uint8), np.zeros((2, 4000), np.uint8)
  save(images / "long.png", long)
  save(labels / "long.png", short)
  number = _images(images, labels) + _labels(images, labels)
  (images / ".ipynb_checkpoints").mkdir()
  save(images / ".ipynb_checkpoints" / "good_0-checkpoint.png", image)
  (images / "._good_0.png").write_bytes(b"\0\5\26\7" + bytes(100))
  (images / "Thumbs.db").write_bytes(bytes(10))
  (images / "notes.txt").write_text("from the field")
  save(images / "good_0_thumb.png", image[::4, ::4])
  os.symlink(".", images / "again")
  return number


def tiff_of_4_bits(array: np.ndarray) -> bytes:
  """A grey TIFF of an array uint8 [H,W] of values below 16; W is even."""
  file = io.BytesIO()
  tifffile.imwrite(file, (array[:, ::2] << 4) | array[:, 1::2])
  file.seek(0)
  with tifffile.TiffFile(file) as tiff:
    tags = tiff.pages.first.tags
    tags["ImageWidth"].overwrite(array.shape[1])
    tags["BitsPerSample"].overwrite(4)
  return file.getvalue()
