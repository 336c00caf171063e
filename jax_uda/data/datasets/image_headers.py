"""What an image file says of itself before it is decoded: its format, its size, which side is up.

A file is refused here if it is larger than allowed, so that a few bytes cannot ask for all memory; if its
format is not one of those that we read; and if its checksums or its decoder say that it is damaged.
"""

import io
from typing import NamedTuple

import numpy as np
import PIL.BmpImagePlugin
import PIL.GifImagePlugin
import PIL.Image
import PIL.ImageFile
import PIL.JpegImagePlugin
import PIL.PngImagePlugin
import PIL.WebPImagePlugin
import simplejpeg

from jax_uda.common import text
from jax_uda.common.paths import Path

Size = tuple[int, int]  # (height, width)

MAX_PIXELS = 300_000_000  # of an image and of a label, unless a setting says otherwise

# Format -> its first bytes.
_STARTS = {
  "PNG": (b"\x89PNG\r\n\x1a\n",),
  "JPEG": (b"\xff\xd8\xff",),
  "BMP": (b"BM",),
  "GIF": (b"GIF8",),
  "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}
# Classes, not `PIL.Image.open`: its limit of pixels is one for the whole process.
_PLUGINS: dict[str, type[PIL.ImageFile.ImageFile]] = {
  "PNG": PIL.PngImagePlugin.PngImageFile,
  "JPEG": PIL.JpegImagePlugin.JpegImageFile,
  "BMP": PIL.BmpImagePlugin.BmpImageFile,
  "GIF": PIL.GifImagePlugin.GifImageFile,
  "WebP": PIL.WebPImagePlugin.WebPImageFile,
}
# What people have under the endings of images -> how to go on.
_STRANGERS = {
  b"version https://git-lfs": "it is a pointer of Git LFS; `git lfs pull` brings the image",
  b"<": "it holds text, perhaps a web page in place of a download",
  b"{": "it holds text",
  b"\0\0\0\x0cjP": "it is a JPEG 2000; convert it to PNG or TIFF",
  b"%PDF": "it is a PDF; convert it to PNG",
  b"\x1f\x8b": "it is packed with gzip; unpack it",
  b"PK\3\4": "it is a zip archive; unpack it",
}
_PNG_METADATA = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_ORIENTATION = 274  # the number of the EXIF tag


class Header(NamedTuple):
  """What is known of a file before it is decoded.

  Attributes:
    format: "PNG", "JPEG", "BMP", "GIF", "WebP" or "TIFF".
    size: (height, width) as stored, before the image is turned.
    orientation: The EXIF orientation, 1 to 8; 1 is upright.
  """

  format: str
  size: Size
  orientation: int


class ErrorsName:
  """A context that turns whatever a decoder raises for a file into a ValueError of one sentence."""

  def __init__(self, file: Path):
    """Takes the file that the sentence names."""
    self._name = text.shown(file)

  def __enter__(self) -> None:
    pass

  def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
    if isinstance(error, Refused):
      raise ValueError(f"{self._name} {error}") from None
    refused = f"{self._name} cannot be read as an image: "
    if isinstance(error, MemoryError):
      raise ValueError(f"{refused}there is not enough memory for it.") from None
    if isinstance(
      error, Exception
    ):  # decoders raise what they stumble over: KeyError, struct.error, …
      reason = text.shown(str(error).strip().rstrip(".")[:200]) or type(error).__name__
      raise ValueError(f"{refused}it is damaged or cut off ({reason}).") from None


class Refused(Exception):
  """A file that cannot be used; the text goes on behind the name of the file."""


def unreadable(reason: str) -> Refused:
  """The refusal of a file without an image."""
  return Refused(f"cannot be read as an image: {reason}.")


def find_format(data: bytes) -> str:
  """The format of a file by its first bytes, whatever its ending.

  Raises:
    Refused: It is none that we read.
  """
  if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
    return "WebP"
  for name, starts in _STARTS.items():
    if data.startswith(starts):
      return name
  if not data:
    raise unreadable("it is empty")
  if data[4:8] == b"ftyp":
    kind = data[8:12].decode("latin-1").strip().upper()
    raise unreadable(f"it is a {text.shown(kind)} file; convert it to PNG or JPEG")
  start = data.lstrip()
  stranger = next((advice for key, advice in _STRANGERS.items() if start.startswith(key)), "")
  raise unreadable(stranger or "it is damaged or no image (PNG, JPEG, TIFF, BMP, WebP)")


def check_pixels(size: Size, max_pixels: int) -> None:
  """Raises Refused if an image of a size has no pixels or more than `max_pixels`."""
  height, width = size
  if height < 1 or width < 1:
    raise unreadable(f"it has {height}x{width} pixels")
  if height * width > max_pixels:
    raise Refused(
      f"has {height}x{width} = {height * width} pixels, more than max_image_pixels = {max_pixels}; cut "
      "it into tiles, or allow more if you trust the file."
    )


def open_image(data: bytes, format_name: str) -> PIL.ImageFile.ImageFile:
  """Pillow's image of a file that is no TIFF; nothing is decoded."""
  return _PLUGINS[format_name](io.BytesIO(data))


def look(data: bytes, max_pixels: int) -> Header:
  """Reads the header of a file that is no TIFF, and checks that the file is whole.

  Call it inside `ErrorsName`.

  Raises:
    Refused: The image is too large, or its checksums or its decoder find damage.
    Exception: What Pillow raises for a damaged header.
  """
  name = find_format(data)
  with open_image(data, name) as image:
    size = (image.height, image.width)
    check_pixels(size, max_pixels)
    orientation = orientation_of(image, data)
  if name == "PNG":
    with open_image(data, name) as image:
      image.verify()  # the checksum of every chunk
  if name == "JPEG":
    _check_jpeg(data)
  return Header(name, size, orientation)


def orientation_of(image: PIL.Image.Image, data: bytes) -> int:
  """The EXIF orientation 1 to 8; 1 if there is none, or if the metadata are damaged.

  Args:
    image: What `open_image` returns.
    data: The file.
  """
  # Pillow decodes a PNG to look for metadata behind the image.
  if image.format == "PNG" and not any(mark in data for mark in _PNG_METADATA):
    return 1
  try:
    orientation = image.getexif().get(_ORIENTATION, 1)
  except Exception:  # viewers show such images upright
    return 1
  return orientation if orientation in range(1, 9) else 1


def _check_jpeg(data: bytes) -> None:
  """Raises Refused if the decoder warns: it would fill the rest of a damaged image with grey."""
  with open_image(data, "JPEG") as image:
    colors = "CMYK" if len(image.getbands()) == 4 else "GRAY"
  try:
    # An eighth of the size is enough: every code of the file is read.
    simplejpeg.decode_jpeg(data, colors, min_height=1, min_width=1, min_factor=8)
  except ValueError as error:
    raise unreadable(f"it is damaged or cut off ({text.shown(str(error))})") from None


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
  """An array [H,W] or [H,W,D] as viewers show an image with this EXIF orientation."""
  if orientation in (5, 6, 7, 8):
    image = image.swapaxes(0, 1)
  rows = -1 if orientation in (3, 4, 7, 8) else 1
  columns = -1 if orientation in (2, 3, 6, 7) else 1
  return np.ascontiguousarray(image[::rows, ::columns])
