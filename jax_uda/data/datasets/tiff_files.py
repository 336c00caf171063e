"""TIFF files: the stored values of the layouts that we know, and a sentence for each other one.

The layout is read by `tifffile`. Compressed files need the extra `tiff` (imagecodecs), except the commonest
ones, which Pillow reads.
"""

import importlib.util
import io
import itertools
import logging
from typing import Any, NamedTuple

import numpy as np
import PIL.TiffImagePlugin
import tifffile

from jax_uda.data.datasets import image_headers
from jax_uda.data.datasets.image_headers import Refused

MAX_BYTES_PER_PIXEL = 8  # of all bands together, at the limit of pixels
_MAX_PAGES = 256
_ORIENTATION, _NODATA = 274, 42113  # numbers of tags

# Numbers of compressions; tifffile changes their names from time to time.
_NONE, _LZW, _JPEG, _PACKBITS, _LZMA, _ZSTD = 1, 5, 7, 32773, 34925, 50000
_DEFLATE, _FAX = {8, 32946}, {3, 4}
# Their decoders write no more bytes than we ask for.
_BOUNDED = {_NONE, _LZW, _PACKBITS, _LZMA, _ZSTD} | _DEFLATE
_OF_PILLOW = {_LZW, _JPEG, _PACKBITS} | _DEFLATE | _FAX
_KINDS = {"MINISBLACK", "MINISWHITE", "RGB", "PALETTE", "YCBCR", "SEPARATED"}

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what it warns of is refused or harmless


class Tiff(NamedTuple):
  """The content of a TIFF file.

  Attributes:
    values: [H,W,D], as stored; indices of a palette are not looked up.
    kind: How colors are stored: "RGB", "MINISBLACK", "MINISWHITE", "PALETTE" or "SEPARATED" (CMYK).
    bits: Bits of a value.
    palette: uint8 [N,3] colors of a palette, or None.
    nodata: The value of pixels without data, or None.
    orientation: 1 to 8, as in EXIF.
  """

  values: np.ndarray
  kind: str
  bits: int
  palette: np.ndarray | None
  nodata: float | None
  orientation: int


def read(data: bytes, max_pixels: int) -> Tiff:
  """Reads a TIFF file; call it inside `image_headers.ErrorsName`.

  Pages of one size with one band each are the bands of one image.

  Raises:
    Refused: The image is too large, or has a layout that we do not know.
    Exception: What tifffile and its decoders raise for damaged files.
  """
  with tifffile.TiffFile(io.BytesIO(data)) as file:
    pages = _pages(file)
    page = pages[0]
    kind = _name(page.photometric)
    if kind not in _KINDS:
      raise Refused(f"has colors of the kind {kind}; convert it to RGB or grey.")
    _check_size(page, len(pages), max_pixels)
    values = np.concatenate([_values(data, page) for page in pages], -1)
    palette = None
    if page.colormap is not None:
      palette = (np.asarray(page.colormap, np.uint16).T >> 8).astype(np.uint8)
    nodata = float(page.nodata) if _NODATA in page.tags else None
    orientation = _orientation(page)
  return Tiff(
    values=values,
    kind="RGB" if kind == "YCBCR" else kind,
    bits=page.bitspersample,
    palette=palette,
    nodata=nodata,
    orientation=orientation,
  )


def read_orientation(data: bytes) -> int:
  """The orientation of a TIFF file, 1 to 8; nothing is decoded. Raises what tifffile raises."""
  with tifffile.TiffFile(io.BytesIO(data)) as file:
    return _orientation(file.pages.first)


def _orientation(page: tifffile.TiffPage) -> int:
  orientation = page.tags.valueof(_ORIENTATION, 1)
  return orientation if orientation in range(1, 9) else 1


def _name(code: Any) -> str:
  """The name of a code in a TIFF; the number, if tifffile does not know it."""
  return getattr(code, "name", str(code))


def _pages(file: tifffile.TiffFile) -> list[tifffile.TiffPage]:
  """The first page, or all of them if they are bands of one image; smaller copies are left out.

  Raises:
    Refused: There are several images.
  """
  pages = [
    page
    for page in itertools.islice(file.pages, _MAX_PAGES)
    if isinstance(page, tifffile.TiffPage) and not page.is_reduced and not page.is_mask
  ]
  if not pages:
    raise image_headers.unreadable("it has no page with an image")
  same = [p for p in pages if p.shape == pages[0].shape and p.dtype == pages[0].dtype]
  if len(same) > 1 and pages[0].samplesperpixel > 1:
    raise Refused(f"has {len(same)} pages; keep one image in a file.")
  return same


def _check_size(page: tifffile.TiffPage, number: int, max_pixels: int) -> None:
  """Raises Refused if a page, or a tile of it, would take too much memory, or has no known type."""
  image_headers.check_pixels((page.imagelength, page.imagewidth), max_pixels)
  if page.imagedepth > 1:
    raise Refused("is a volume; keep one image in a file.")
  if page.dtype is None or page.dtype.kind not in "buif":
    raise Refused(f"holds values of {page.bitspersample} bits, which are no numbers that we know.")
  # A tile may be larger than the image.
  values = max(page.size, int(np.prod(page.chunks, dtype=object))) * number
  size = values * max(page.dtype.itemsize, 1)
  if size > MAX_BYTES_PER_PIXEL * max_pixels:
    raise Refused(
      f"takes {size} bytes, more than {MAX_BYTES_PER_PIXEL} * max_image_pixels = "
      f"{MAX_BYTES_PER_PIXEL * max_pixels}; cut it into tiles, or allow more if you trust the file."
    )


def _values(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
  """[H,W,D], the values of a page."""
  kind = _name(page.photometric)
  is_whole = page.bitspersample in (8, 16, 32, 64) or page.dtype == bool
  needs_codecs = page.compression != _NONE or not is_whole
  can_decode = page.compression in _BOUNDED and kind != "YCBCR"
  # Before Pillow, which would not notice all damage.
  if can_decode and not (needs_codecs and importlib.util.find_spec("imagecodecs") is None):
    return _with_bands_last(page)
  if _is_usual(page):
    return _decode_by_pillow(data, page)
  if not can_decode:
    raise Refused(
      f"is stored as {_name(page.compression)} {kind}; convert it to a TIFF with DEFLATE or LZW."
    )
  what = (
    f"is compressed with {_name(page.compression)}"
    if is_whole
    else f"has {page.bitspersample} bits"
  )
  raise Refused(f'{what}, which needs imagecodecs: pip install "jax-uda[tiff]".')


def _with_bands_last(page: tifffile.TiffPage) -> np.ndarray:
  values = page.asarray()
  if values.ndim == 2:
    return values[..., None]
  return np.moveaxis(values, 0, -1) if _name(page.planarconfig) == "SEPARATE" else values


def _is_usual(page: tifffile.TiffPage) -> bool:
  """Whether Pillow reads the values of a page as they are: grey, a palette, or RGB without more bands."""
  is_simple = _name(page.planarconfig) == "CONTIG" and page.index == 0 and page.sampleformat == 1
  if page.compression not in _OF_PILLOW or not is_simple:
    return False
  if page.tags.valueof(_ORIENTATION, 1) != 1:  # Pillow turns images by itself
    return False
  wanted = {"RGB": {(3, 8)}, "YCBCR": {(3, 8)}, "PALETTE": {(1, 8)}}
  wanted["MINISBLACK"] = {(1, 1), (1, 8), (1, 16)}
  return (page.samplesperpixel, page.bitspersample) in wanted.get(_name(page.photometric), ())


def _decode_by_pillow(data: bytes, page: tifffile.TiffPage) -> np.ndarray:
  with PIL.TiffImagePlugin.TiffImageFile(io.BytesIO(data)) as image:
    mode, values = image.mode, np.array(image)
  values = values[..., None] if values.ndim == 2 else values
  fits = values.shape == (page.imagelength, page.imagewidth, page.samplesperpixel)
  if not fits or mode not in ("1", "L", "P", "I;16", "I;16B", "RGB"):
    raise image_headers.unreadable("its parts do not fit each other")
  return values.astype(page.dtype)
