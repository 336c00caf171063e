"""Image files as people have them: each is read as viewers show it, or refused in one sentence."""

import io
import pathlib
import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile
from robustness.one_of_each import exif, tiff_of_4_bits
from robustness.table import Case, check, parametrize

from jax_uda.data.datasets import image_files, value_range
from jax_uda.data.datasets.image_files import Reading

pytestmark = pytest.mark.fast

SIZE = (12, 20)
RGB = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
GREY = RGB[..., 0]
AS_RGB = np.stack([GREY] * 3, -1)
NIR = RGB[::-1, :, 1]
FOUR = np.dstack([RGB, NIR])
SMOOTH = cv2.resize(RGB[:3, :5], (SIZE[1] * 8, SIZE[0] * 8))
DEEP = RGB.astype(np.uint16) * 257


def png(array, ending=".png", **settings):
  """Reads an array that Pillow has written."""

  def read(folder, reading=image_files.PLAIN):
    PIL.Image.fromarray(array).save(folder / f"a{ending}", **settings)
    return image_files.read_image(folder / f"a{ending}", reading)

  return read


def tiff(array, reading=image_files.PLAIN, **settings):
  """Reads an array that tifffile has written."""

  def read(folder):
    tifffile.imwrite(folder / "a.tif", array, **settings)
    return image_files.read_image(folder / "a.tif", reading)

  return read


def content(data, name="a.png", reading=image_files.PLAIN):
  """Reads the bytes of a file."""

  def read(folder):
    (folder / name).write_bytes(data() if callable(data) else data)
    return image_files.read_image(folder / name, reading)

  return read


def encoded(array, ending, *settings):
  return cv2.imencode(ending, array[..., ::-1] if array.ndim == 3 else array, settings)[1].tobytes()


def pillow_bytes(array, format_name, **settings):
  file = io.BytesIO()
  PIL.Image.fromarray(array).save(file, format_name, **settings)
  return file.getvalue()


def damaged(data, change):
  """The bytes with 30 zeros in the middle, or cut off there, or with one bit changed."""
  middle = len(data) // 2
  return {
    "zeros": data[:middle] + bytes(30) + data[middle + 30 :],
    "cut": data[:middle],
    "bit": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :],
  }[change]


def png_header(height, width, kind=2):
  """A PNG without pixels that says it has so many."""
  header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
  end = b"IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
  return (
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + header
    + struct.pack(">I", zlib.crc32(header))
    + bytes(4)
    + end
  )


def scaled(array, low, high):
  unit = np.nan_to_num((array.astype(np.float64) - low) / (high - low))
  return (unit.clip(0, 1) * 255 + 0.5).astype(np.uint8)


JPEG = encoded(SMOOTH, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 95)
DECODED_JPEG = cv2.imdecode(np.frombuffer(JPEG, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
SMALL = Reading(max_pixels=100)
REFLECTANCE = (200 + RGB.astype(np.uint16) * 4).astype(np.uint16)  # 200 to 1220
FLOATS = RGB.astype(np.float32) / 100
NODATA = FLOATS.copy()
NODATA[0, 0] = np.nan
BLANK = scaled(NODATA, 0, 2.55)
BLANK[0, 0] = 0
MARKED = REFLECTANCE.astype(np.int16)
MARKED[0, 0] = -9999
DARK = scaled(REFLECTANCE, 200, 1220)
DARK[0, 0] = 0
MIXED = np.stack([GREY, NIR, GREY // 2, NIR // 2, RGB[..., 2], RGB[..., 1]], -1)

CASES = (
  # Formats that viewers show.
  Case("PNG of RGB", png(RGB), RGB),
  Case("PNG of RGB and alpha", png(FOUR), RGB),
  Case("PNG of grey", png(GREY), AS_RGB),
  Case("PNG of grey and alpha", png(np.dstack([GREY, NIR])), AS_RGB),
  Case("PNG of one bit", png(GREY > 99), np.where(AS_RGB > 99, 255, 0)),
  Case("PNG of 16 bits", content(lambda: encoded(DEEP, ".png")), RGB),
  Case("PNG of 16 bits of grey", content(lambda: encoded(DEEP[..., 0], ".png")), AS_RGB),
  Case("BMP", png(RGB, ".bmp"), RGB),
  Case("WebP without loss", png(RGB, ".webp", lossless=True), RGB),
  Case("JPEG", content(JPEG, "a.jpg"), DECODED_JPEG),
  Case("JPEG called JFIF", content(JPEG, "a.jfif"), DECODED_JPEG),
  Case("JPEG called PNG", content(JPEG, "a.png"), DECODED_JPEG),
  Case(
    "JPEG of CMYK", content(lambda: _cmyk_jpeg(), "a.jpg"), lambda x: np.testing.assert_equal(x.shape, (*SIZE, 3))
  ),
  # TIFF: bands, alpha, planes, bits, byte order, compression.
  Case("TIFF of RGB", tiff(RGB), RGB),
  Case("TIFF with a fourth band", tiff(FOUR, photometric="rgb", extrasamples=[0]), RGB),
  Case("TIFF with infrared marked as alpha", tiff(FOUR, photometric="rgb", extrasamples=[2]), RGB),
  Case("TIFF with premultiplied alpha", tiff(FOUR, photometric="rgb", extrasamples=[1]), RGB),
  Case("TIFF of four grey bands", tiff(FOUR, photometric="minisblack", planarconfig="contig"), RGB),
  Case("TIFF of three grey bands", tiff(RGB, photometric="minisblack", planarconfig="contig"), RGB),
  Case(
    "TIFF of planes",
    tiff(np.moveaxis(DEEP, 2, 0), photometric="rgb", planarconfig="separate"),
    RGB,
  ),
  Case("TIFF of pages", tiff(np.moveaxis(RGB, 2, 0), photometric="minisblack"), RGB),
  Case("TIFF of 16 bits, big-endian", tiff(DEEP, photometric="rgb", byteorder=">"), RGB),
  Case("BigTIFF", tiff(RGB, bigtiff=True), RGB),
  Case("TIFF in tiles", tiff(RGB, tile=(16, 16)), RGB),
  Case("TIFF, LZW", tiff(RGB, compression="lzw"), RGB),
  Case("TIFF, LZW with predictor", tiff(DEEP, photometric="rgb", compression="lzw", predictor=True), RGB),
  Case("TIFF, deflate, four bands", tiff(FOUR, photometric="rgb", extrasamples=[0], compression="zlib"), RGB),
  Case("TIFF, PackBits", tiff(RGB, compression="packbits"), RGB),
  Case("TIFF, Zstandard", tiff(RGB, compression="zstd"), RGB),
  Case(
    "TIFF, JPEG",
    tiff(SMOOTH, compression="jpeg", photometric="rgb"),
    lambda x: np.testing.assert_allclose(x.astype(int), SMOOTH, atol=40),
  ),
  Case("TIFF of grey", tiff(GREY), AS_RGB),
  Case("TIFF of one bit", tiff(GREY > 99, photometric="minisblack"), np.where(AS_RGB > 99, 255, 0)),
  Case("TIFF of 4 bits", content(lambda: tiff_of_4_bits(GREY // 16), "a.tif"), AS_RGB // 16 * 17),
  Case("TIFF of white 0", tiff(GREY, photometric="miniswhite"), 255 - AS_RGB),
  Case("TIFF of a palette", content(lambda: _palette_tiff(), "a.tif"), lambda x: _is_close(x, RGB)),
  # Bands and ranges by choice.
  Case("bands of six", tiff(MIXED, Reading((5, 6, 1)), photometric="minisblack", planarconfig="contig"), MIXED[..., [4, 5, 0]]),
  Case("bands of six planes", tiff(np.moveaxis(MIXED, 2, 0), Reading((3, 2, 1)), photometric="minisblack", planarconfig="separate"), MIXED[..., [2, 1, 0]]),
  Case("bands of six pages", tiff(np.moveaxis(MIXED, 2, 0), Reading((3, 2, 1)), photometric="minisblack"), MIXED[..., [2, 1, 0]]),
  Case("one band", tiff(FOUR, Reading((4,)), photometric="rgb", extrasamples=[0]), np.stack([NIR] * 3, -1)),
  Case("bands of a PNG", lambda folder: png(RGB)(folder, Reading((3, 2, 1))), RGB[..., ::-1]),
  Case("a range of 16 bits", tiff(REFLECTANCE, Reading((), ((200, 1220),)), photometric="rgb"), scaled(REFLECTANCE, 200, 1220)),
  Case("a range per band", tiff(REFLECTANCE, Reading((), ((0, 999), (200, 300), (50, 2000))), photometric="rgb"), lambda x: _is_close(x, np.dstack([scaled(REFLECTANCE[..., i], *ends) for i, ends in enumerate(((0, 999), (200, 300), (50, 2000)))]), 1)),
  Case("a range of floats", tiff(FLOATS, Reading((), ((0, 2.55),)), photometric="rgb"), lambda x: _is_close(x, RGB, 1)),
  Case("NaN where there is no data", tiff(NODATA, Reading((), ((0, 2.55),)), photometric="rgb"), lambda x: _is_close(x, BLANK, 1)),
  Case("a value for no data", tiff(MARKED, Reading((), ((200, 1220),)), photometric="rgb", extratags=[(42113, "s", 0, "-9999", True)]), DARK),
  # What has no known meaning.
  Case("five bands", tiff(MIXED[..., :5], photometric="minisblack", planarconfig="contig"), sentence=r"a\.tif has 5 bands; name three with bands="),
  Case("two bands", tiff(MIXED[..., :2], photometric="minisblack", planarconfig="contig"), sentence=r"has 2 bands; name"),
  Case("a band that is not there", tiff(FOUR, Reading((5, 2, 1)), photometric="rgb", extrasamples=[0]), sentence=r"4 bands, so that there is no band 5"),
  Case("floats without a range", tiff(FLOATS, photometric="rgb"), sentence=r"holds float32, whose range is unknown; set value_range="),
  Case("signed numbers without a range", tiff(MARKED, photometric="rgb"), sentence=r"holds int16, whose range is unknown"),
  Case("complex numbers", tiff(GREY.astype(np.complex64)), sentence=r"no numbers that we know"),
  Case("several images", tiff(np.stack([RGB] * 2), photometric="rgb"), sentence=r"has 2 pages; keep one image"),
  Case("colors that we do not know", tiff(RGB, photometric="cielab"), sentence=r"colors of the kind CIELAB"),
  Case("JPEG 2000 in a TIFF", tiff(RGB, compression="jpeg2000"), sentence=r"stored as \w*JPEG2000\w* RGB; convert it"),
  # Damage.
  Case("JPEG cut off", content(damaged(JPEG, "cut"), "a.jpg"), sentence=r"a\.jpg cannot be read as an image: it is damaged or cut off"),
  Case("JPEG with a hole", content(damaged(JPEG, "zeros"), "a.jpg"), sentence=r"it is damaged or cut off \(Corrupt JPEG"),
  Case("PNG cut off", content(lambda: damaged(encoded(RGB, ".png"), "cut")), sentence="damaged or cut off"),
  Case("PNG with a changed bit", content(lambda: damaged(encoded(RGB, ".png"), "bit")), sentence="damaged or cut off"),
  Case("BMP cut off", content(lambda: damaged(encoded(RGB, ".bmp"), "cut"), "a.bmp"), sentence="damaged or cut off"),
  Case("WebP cut off", content(lambda: damaged(encoded(RGB, ".webp"), "cut"), "a.webp"), sentence="damaged or cut off"),
  Case("TIFF cut off", content(lambda: _tiff_bytes(RGB)[:-100], "a.tif"), sentence="damaged or cut off"),
  Case("TIFF with a hole", content(lambda: damaged(_tiff_bytes(SMOOTH, compression="zlib"), "zeros"), "a.tif"), sentence="damaged or cut off"),
  Case("an empty file", content(b""), sentence="it is empty"),
  Case("text", content(b"no image"), sentence="damaged or no image"),
  Case("a web page", content(b"\n<!DOCTYPE html>"), sentence="it holds text, perhaps a web page"),
  Case("a pointer of Git LFS", content(b"version https://git-lfs.github.com/spec/v1\n"), sentence="git lfs pull"),
  Case("HEIC", content(b"\0\0\0\x18ftypheic\0\0\0\0"), sentence="it is a HEIC file; convert it"),
  Case("no file", lambda folder: image_files.read_image(folder / "a.png"), sentence=r"a\.png cannot be read: No such file"),
  Case("a folder", lambda folder: image_files.read_image(folder), sentence=r"cannot be read: Is a directory"),
  Case("a name that steers a terminal", content(b"", "a\x1b[31m\n.png"), sentence=r"a\\x1b\[31m\\n\.png cannot be read"),
  Case("a name that is not UTF-8", content(b"", b"stra\xdfe.png".decode("utf-8", "surrogateescape")), sentence=r"stra\\xdfe\.png cannot"),
  # Sizes.
  Case("PNG of 400 million pixels", content(png_header(20000, 20000)), sentence="has 20000x20000 = 400000000 pixels, more than max_image_pixels"),
  Case("PNG of no pixels", content(png_header(0, 5)), sentence="cannot be read"),
  Case("JPEG over the limit", content(JPEG, "a.jpg", SMALL), sentence="more than max_image_pixels = 100"),
  Case("BMP over the limit", content(lambda: encoded(RGB, ".bmp"), "a.bmp", SMALL), sentence="more than max_image_pixels = 100"),
  Case("WebP over the limit", content(lambda: encoded(RGB, ".webp"), "a.webp", SMALL), sentence="more than max_image_pixels = 100"),
  Case("TIFF over the limit", tiff(RGB, SMALL), sentence="more than max_image_pixels = 100"),
  Case("TIFF with a tile over the limit", tiff(RGB[:4, :4], SMALL, tile=(256, 256)), sentence="more than 8 [*] max_image_pixels = 800"),
  Case("TIFF of many bands over the limit", tiff(np.zeros((8, 8, 40), np.float64), SMALL, photometric="minisblack", planarconfig="contig"), sentence="more than 8 [*] max_image_pixels"),
  Case("TIFF that unpacks to more than it says", content(lambda: _unpacking_tiff(), "a.tif"), sentence="damaged or cut off"),
  *(Case(f"{h}x{w}", png(np.full((h, w, 3), 7, np.uint8)), np.full((h, w, 3), 7)) for h, w in ((1, 1), (1, 300), (300, 1), (2, 4000), (8, 900))),
)  # fmt: skip


def _is_close(actual, expected, tolerance=0):
  np.testing.assert_allclose(actual.astype(int), expected.astype(int), atol=tolerance)


def _tiff_bytes(array, **settings):
  file = io.BytesIO()
  tifffile.imwrite(file, array, **settings)
  return file.getvalue()


def _unpacking_tiff():
  """12x20 pixels, whose only part unpacks to a million bytes."""
  part = iter([zlib.compress(bytes(10**6))])
  return _tiff_bytes(
    part, shape=(*SIZE, 3), dtype=np.uint8, compression="zlib", rowsperstrip=SIZE[0]
  )


def _cmyk_jpeg():
  file = io.BytesIO()
  PIL.Image.fromarray(RGB).convert("CMYK").save(file, "JPEG")
  return file.getvalue()


def _palette_tiff():
  colors = RGB.reshape(-1, 3)
  table = np.zeros((3, 256), np.uint16)
  table[:, : len(colors)] = colors.T.astype(np.uint16) * 257
  index = np.arange(len(colors), dtype=np.uint8).reshape(SIZE)
  return _tiff_bytes(index, photometric="palette", colormap=table)


@parametrize(*CASES)
def test_an_image_is_read_or_refused_in_one_sentence(case, tmp_path):
  check(case, tmp_path)


@pytest.mark.parametrize("ending", (".jpg", ".png", ".webp", ".tif"))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_viewers_show_it(tmp_path, ending, orientation):
  file = tmp_path / f"a{ending}"
  if ending == ".tif":
    tifffile.imwrite(file, SMOOTH, extratags=[(274, "H", 1, orientation, True)])
  else:
    settings = dict(lossless=True) if ending == ".webp" else {}
    PIL.Image.fromarray(SMOOTH).save(file, exif=exif(orientation), **settings)
  expected = np.array(PIL.ImageOps.exif_transpose(PIL.Image.open(file)).convert("RGB"))
  _is_close(image_files.read_image(file), expected, 3 if ending == ".jpg" else 0)
  assert image_files.is_turned(file) == (orientation != 1)


def test_damaged_metadata_leave_an_image_upright(tmp_path):
  file = tmp_path / "a.jpg"
  PIL.Image.fromarray(RGB).save(file, exif=b"Exif\0\0II*\0" + bytes(30))
  assert image_files.read_image(file).shape == RGB.shape
  assert image_files.jpeg_bytes(file) == file.read_bytes()


def test_bytes_of_a_turned_jpeg_are_not_stored_as_they_are(tmp_path):
  file = tmp_path / "a.jpg"
  PIL.Image.fromarray(RGB).save(file, exif=exif(6))
  assert image_files.jpeg_bytes(file) is None


def test_the_range_of_percentiles_leaves_out_what_is_no_data():
  values = np.arange(1000, dtype=np.float32).reshape(10, 100, 1)
  values[0, :50] = -9999
  values[1, :50] = np.nan
  stored = value_range.Stored(values, 0, nodata=-9999)
  ((low, high),) = value_range.percentile_range([value_range.sample(stored)])
  kept = values[np.isfinite(values) & (values != -9999)]
  assert (low, high) == tuple(np.percentile(kept, (2, 98)).tolist())


@pytest.mark.parametrize(
  "data", (png_header(20000, 20000), png_header(60000, 60000, 0)), ids=("colors", "grey")
)
@pytest.mark.parametrize("read", (image_files.read_image, image_files.read_values))
def test_a_file_that_says_it_is_large_takes_no_memory(tmp_path: pathlib.Path, data, read):
  file = tmp_path / "bomb.png"
  file.write_bytes(data)
  tracemalloc.start()
  with pytest.raises(ValueError, match="max_image_pixels"):
    read(file)
  assert tracemalloc.get_traced_memory()[1] < 2**22
  tracemalloc.stop()


@pytest.mark.parametrize("compression", ("lzw", "zlib", "packbits", None))
def test_usual_tiffs_need_no_extra(tmp_path, monkeypatch, compression):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  tifffile.imwrite(tmp_path / "a.tif", RGB, compression=compression)
  np.testing.assert_array_equal(image_files.read_image(tmp_path / "a.tif"), RGB)
  tifffile.imwrite(tmp_path / "b.tif", MIXED, photometric="minisblack", planarconfig="contig", compression=compression)  # fmt: skip
  if compression:
    with pytest.raises(
      ValueError, match=r"b\.tif is compressed with .*pip install \"jax-uda\[tiff\]\""
    ):
      image_files.read_image(tmp_path / "b.tif", Reading((1, 2, 3)))
