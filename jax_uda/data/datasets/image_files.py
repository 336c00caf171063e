"""Reading and encoding of image and label files, for data sets and for images to predict.

Images and labels are turned as viewers show them (the EXIF orientation), so that a prediction fits the
image that a person sees. A file is an image or ends in one sentence: what decoders only warn of is an error.
"""

import cv2
import numpy as np
import PIL.Image

from jax_uda.common import text
from jax_uda.common.paths import Path
from jax_uda.data.datasets import image_headers, tiff_files, value_range
from jax_uda.data.datasets.image_headers import MAX_PIXELS, Refused, unreadable
from jax_uda.data.datasets.value_range import Reading, Stored

PLAIN = Reading()

_COLOR = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH


def read_bytes(file: Path) -> bytes:
  """The bytes of a file; raises ValueError if it cannot be read."""
  try:
    return file.read_bytes()
  except OSError as error:
    raise ValueError(
      f"{text.shown(file)} cannot be read: {error.strerror or text.shown(str(error))}."
    ) from None


def _decode(data: bytes, flags: int) -> np.ndarray:
  image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  if image is None:
    raise unreadable("it is damaged or cut off")
  return image


def _tiff_colors(tiff: tiff_files.Tiff) -> tuple[np.ndarray, int]:
  """[H,W,D] bands of a TIFF as a viewer shows them, and the largest value that it can hold."""
  values, top = tiff.values, 0
  if values.dtype.kind in "bu":
    top = 2**tiff.bits - 1
    values = values.astype(np.uint8) if values.dtype == bool else values
  if tiff.kind == "MINISWHITE" and top:
    values = values.dtype.type(top) - values
  if tiff.kind == "PALETTE":
    if tiff.palette is None or values.shape[-1] != 1 or int(values.max()) >= len(tiff.palette):
      raise unreadable("its palette does not fit its values")
    return tiff.palette[values[..., 0]], 255
  if tiff.kind == "SEPARATED":
    if values.shape[-1] < 4 or values.dtype != np.uint8:
      raise Refused("has CMYK colors of a kind that we do not know; convert it to RGB.")
    size = (values.shape[1], values.shape[0])
    cmyk = PIL.Image.frombytes("CMYK", size, values[..., :4].tobytes())
    return np.array(cmyk.convert("RGB")), 255
  return values, top


def read_stored(file: Path, reading: Reading = PLAIN) -> Stored:
  """Reads the values of an image file before they become 8 bits; bands are chosen.

  Raises:
    ValueError: As `read_image`.
  """
  data = read_bytes(file)
  with image_headers.ErrorsName(file):
    nodata = None
    if image_headers.find_format(data) == "TIFF":
      tiff = tiff_files.read(data, reading.max_pixels)
      values, top = _tiff_colors(tiff)
      nodata, orientation = tiff.nodata, tiff.orientation
    else:
      orientation = image_headers.look(data, reading.max_pixels).orientation
      values = _decode(data, _COLOR)
      top = int(np.iinfo(values.dtype).max)
    values = value_range.choose_bands(values, reading.bands)
    return Stored(image_headers.turn(values, orientation), top, nodata)


def read_image(file: Path, reading: Reading = PLAIN) -> np.ndarray:
  """Reads an image as uint8 [H,W,3] RGB, upright; 16 bits are scaled to 8.

  Args:
    file: A PNG, JPEG, TIFF, BMP or WebP file.
    reading: Bands, range of values, and limit of pixels.

  Raises:
    ValueError: The file is missing, damaged, too large, or no image; or it has bands or values whose
      meaning `reading` does not say.
  """
  stored = read_stored(file, reading)
  with image_headers.ErrorsName(file):
    return value_range.to_8_bits(stored, reading.value_range)


def may_be_deep(file: Path) -> bool:
  """Whether a file may hold more than 8 bits per value: a TIFF, or a PNG of 16 bits."""
  data = read_bytes(file)
  with image_headers.ErrorsName(file):
    name = image_headers.find_format(data)
  return name == "TIFF" or (name == "PNG" and data[24:25] == b"\x10")


def is_turned(file: Path) -> bool:
  """Whether the EXIF orientation of a file turns its image; raises ValueError if it cannot be read."""
  data = read_bytes(file)
  with image_headers.ErrorsName(file):
    name = image_headers.find_format(data)
    if name == "TIFF":
      return tiff_files.read_orientation(data) != 1
    with image_headers.open_image(data, name) as image:
      return image_headers.orientation_of(image, data) != 1


def jpeg_bytes(file: Path, reading: Reading = PLAIN) -> bytes | None:
  """The bytes of a JPEG file if `Examples` decodes them as `read_image` does; else None."""
  data = read_bytes(file)
  if not reading.is_plain or not data.startswith(b"\xff\xd8\xff"):
    return None
  with image_headers.ErrorsName(file):
    upright = image_headers.look(data, reading.max_pixels).orientation == 1
  return data if upright else None


def _grey_factor(data: bytes) -> int:
  """The factor by which Pillow multiplies grey values of 2 or 4 bits, so that they fill 0..255."""
  is_grey_png = data[:4] == b"\x89PNG" and data[25:26] == b"\x00"
  return {2: 85, 4: 17}.get(data[24], 1) if is_grey_png else 1


def read_values(file: Path, max_pixels: int = MAX_PIXELS) -> np.ndarray:
  """Reads the stored values of a label file, upright, without looking up the colors of a palette.

  Returns:
    [H,W], or [H,W,D] if there are several values per pixel (red, green, blue, …), of any number type.
    The grey of an image with alpha is a value per pixel.

  Raises:
    ValueError: The file is missing, damaged, too large or no image, or it was compressed with loss.
  """
  data = read_bytes(file)
  with image_headers.ErrorsName(file):
    if image_headers.find_format(data) == "TIFF":
      tiff = tiff_files.read(data, max_pixels)
      values, orientation = tiff.values, tiff.orientation
      values = values.astype(np.uint8) if values.dtype == bool else values
    else:
      header = image_headers.look(data, max_pixels)
      orientation, values = header.orientation, _stored_values(data, header.format)
    if values.ndim == 3 and values.shape[-1] <= 2:
      values = values[..., 0]
    return image_headers.turn(values, orientation)


def _refuse_lossy(data: bytes, format_name: str) -> None:
  if format_name == "JPEG" or (format_name == "WebP" and b"VP8L" not in data[12:64]):
    raise Refused(
      f"is a {format_name}, which changes the values of pixels; labels must be stored without loss, as PNG."
    )


def check_lossless(file: Path) -> None:
  """Raises ValueError if a file is missing, no image, or of a format that changes the values of pixels."""
  data = read_bytes(file)
  with image_headers.ErrorsName(file):
    _refuse_lossy(data, image_headers.find_format(data))


def _stored_values(data: bytes, format_name: str) -> np.ndarray:
  """[H,W] or [H,W,D] values of a file that is no TIFF."""
  _refuse_lossy(data, format_name)
  if format_name == "PNG" and data[24:25] == b"\x10":  # Pillow reads 16-bit colors as 8 bits
    image = _decode(data, cv2.IMREAD_UNCHANGED)
    return image[..., 2::-1] if image.ndim == 3 else image
  with image_headers.open_image(data, format_name) as image:
    values = np.array(image)
  if values.dtype == bool:
    return values.astype(np.uint8)
  factor = _grey_factor(data)
  return values if factor == 1 else values // factor


# OpenCV's default settings suit photographs. A label map is made of runs of equal bytes: without a filter
# its file is shorter, and is decoded some five times as fast.
_LABEL = [
  *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
  *(cv2.IMWRITE_PNG_COMPRESSION, 6),
]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.12
  _LABEL += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def encode_png(array: np.ndarray) -> bytes:
  """The bytes of a PNG file of an image uint8 [H,W,3] RGB or a grey map uint8 [H,W]."""
  if array.ndim == 3:
    return cv2.imencode(".png", cv2.cvtColor(array, cv2.COLOR_RGB2BGR))[1].tobytes()
  return cv2.imencode(".png", array, _LABEL)[1].tobytes()
