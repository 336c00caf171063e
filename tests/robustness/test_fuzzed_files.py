"""Bytes at random, and images with changed, lost and added bytes, end in an image or in one sentence."""

import io
import struct
import zlib

import numpy as np
import PIL.Image
import pytest
import tifffile
from robustness.one_of_each import exif, tiff_of_4_bits
from robustness.table import check_sentence

from jax_uda.data.datasets import image_files, label_coding, pairs
from jax_uda.data.datasets.image_files import Reading

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

MAX_PIXELS = 10_000
READING = Reading(max_pixels=MAX_PIXELS)
RANGE = Reading((2, 1, 1), ((0.0, 9.0),), MAX_PIXELS)
RGB = np.random.default_rng(0).integers(0, 256, (9, 14, 3), np.uint8)


def _pillow(image, format_name, **settings):
  file = io.BytesIO()
  (image if isinstance(image, PIL.Image.Image) else PIL.Image.fromarray(image)).save(
    file, format_name, **settings
  )
  return file.getvalue()


def _tiff(array, **settings):
  file = io.BytesIO()
  tifffile.imwrite(file, array, **settings)
  return file.getvalue()


def _files():
  grey, palette = RGB[..., 0], PIL.Image.fromarray(RGB).quantize(16)
  yield "png", _pillow(RGB, "PNG", exif=exif(6))
  yield "palette png", _pillow(palette, "PNG")
  yield "16-bit png", _pillow(grey.astype(np.uint16), "PNG")
  yield "jpeg", _pillow(RGB, "JPEG", exif=exif(6))
  yield "progressive jpeg", _pillow(RGB, "JPEG", progressive=True)
  yield "cmyk jpeg", _pillow(PIL.Image.fromarray(RGB).convert("CMYK"), "JPEG")
  yield "webp", _pillow(RGB, "WebP", exif=exif(6))
  yield "lossless webp", _pillow(RGB, "WebP", lossless=True)
  yield "bmp", _pillow(RGB, "BMP")
  yield "palette bmp", _pillow(palette, "BMP")
  yield "gif", _pillow(palette, "GIF")
  yield "tiff", _tiff(RGB)
  yield "float tiff", _tiff(RGB.astype(np.float32), photometric="rgb", byteorder=">")
  yield "planar tiff", _tiff(np.moveaxis(RGB, 2, 0), photometric="rgb", planarconfig="separate")
  yield "paged tiff", _tiff(np.moveaxis(RGB, 2, 0), photometric="minisblack")
  yield "tiled tiff", _tiff(RGB, tile=(16, 16), compression="zlib", predictor=True)
  yield "4-bit tiff", tiff_of_4_bits(RGB[..., 0] // 16)
  yield "lzw tiff", _tiff(RGB, compression="lzw")
  yield "jpeg tiff", _pillow(RGB, "TIFF", compression="jpeg")
  yield "fax tiff", _pillow(PIL.Image.fromarray(grey > 99), "TIFF", compression="group4")
  yield "palette tiff", _pillow(palette, "TIFF", compression="packbits")


FILES = dict(_files())


def with_right_checksums(data):
  """A PNG whose chunks have the checksums of what they hold, so that decoders go on."""
  parts, place = [data[:8]], 8
  while place + 12 <= len(data):
    (length,) = struct.unpack(">I", data[place : place + 4])
    body = data[place + 4 : place + 8 + length]
    parts += [data[place : place + 4], body, struct.pack(">I", zlib.crc32(body))]
    place += 12 + length
  return b"".join(parts)


@st.composite
def changed_files(draw):
  """A file with some bytes changed, and perhaps with a part cut out or put in."""
  name = draw(st.sampled_from(sorted(FILES)))
  data = bytearray(FILES[name])
  place = st.integers(0, len(data) - 1)
  # Half of the changes hit the beginning, where headers lie.
  place = st.one_of(place, st.integers(0, min(120, len(data) - 1)))
  for _ in range(draw(st.integers(0, 4))):
    data[draw(place)] = draw(st.one_of(st.sampled_from((0, 1, 127, 128, 255)), st.integers(0, 255)))
  kind = draw(st.sampled_from(("whole", "whole", "cut", "hole", "more")))
  start = draw(place)
  if kind == "cut":
    del data[start:]
  elif kind == "hole":
    del data[start : start + draw(st.integers(1, 40))]
  elif kind == "more":
    data[start:start] = draw(st.binary(min_size=1, max_size=40))
  is_png = name.endswith("png") and draw(st.booleans())
  return with_right_checksums(bytes(data)) if is_png else bytes(data)


def ends_well(read, file):
  """Reads a file; returns the array, or None after one sentence."""
  try:
    result = read(file)
  except ValueError as error:
    check_sentence(str(error))
    assert file.name in str(error)
    return None
  assert isinstance(result, np.ndarray) and 0 < result.shape[0] * result.shape[1] <= MAX_PIXELS
  return result


def read_everything(file, data):
  """Reads the bytes by every reader of images and labels."""
  file.write_bytes(data)
  for reading in (READING, RANGE):
    image = ends_well(lambda file, reading=reading: image_files.read_image(file, reading), file)
    assert image is None or (image.dtype == np.uint8 and image.shape[2:] == (3,))
  by_ids = label_coding.by_ids(tuple(range(250)), (), MAX_PIXELS)
  by_colors = label_coding.by_colors(((0, 0, 0), (255, 0, 0)), (), MAX_PIXELS)
  for coding in (by_ids, by_colors):
    label = ends_well(coding.train_ids, file)
    assert label is None or (label.dtype == np.uint8 and label.ndim == 2)
  ends_well(lambda file: pairs.read_ids(file, MAX_PIXELS), file)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
  return tmp_path_factory.mktemp("fuzz") / "file.png"


QUIET = hypothesis.settings(max_examples=250, deadline=None, derandomize=True, database=None)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged metadata
@QUIET
@hypothesis.given(data=changed_files())
def test_changed_files_end_in_an_image_or_a_sentence(file, data):
  read_everything(file, data)


STARTS = (
  b"",
  b"\x89PNG\r\n\x1a\n",
  b"\xff\xd8\xff",
  b"BM",
  b"GIF89a",
  b"II*\0",
  b"MM\0*",
  b"II+\0",
)


@pytest.mark.filterwarnings("ignore")
@QUIET
@hypothesis.given(
  start=st.sampled_from((*STARTS, b"RIFF\0\0\0\0WEBPVP8 ")), rest=st.binary(max_size=200)
)
def test_random_bytes_end_in_a_sentence(file, start, rest):
  read_everything(file, start + rest)


def test_the_files_are_read_unless_changed(file):
  for name, data in FILES.items():
    file.write_bytes(data)
    if name not in ("float tiff", "gif"):
      assert image_files.read_image(file, READING).size, name
