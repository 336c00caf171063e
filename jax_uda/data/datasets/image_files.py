"""Reading and encoding of image and label files, for data sets and for images to predict."""

import io
from typing import NoReturn

import cv2
import numpy as np
import PIL.Image

from jax_uda.common.paths import Path

# The orientation in an image's metadata is ignored, because labels have no such mark.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
_JPEG = b"\xff\xd8\xff"  # the first bytes of such files


def read_bytes(file: Path) -> bytes:
  """The bytes of a file; raises ValueError if it cannot be read."""
  try:
    return file.read_bytes()
  except OSError as error:
    raise ValueError(f"{file} cannot be read: {error.strerror or error}.") from None


def _decode(data: bytes, flags: int) -> np.ndarray | None:
  try:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error:  # of an empty file
    return None


def _refuse(file: Path, data: bytes) -> NoReturn:
  """Raises a ValueError that says why there is no image in `data`."""
  try:
    with PIL.Image.open(io.BytesIO(data)) as image:
      mode = image.mode
  except (OSError, SyntaxError, PIL.Image.DecompressionBombError):
    mode = ""
  if mode in ("F", "I"):
    raise ValueError(
      f"{file} holds numbers of 32 bits (mode {mode}), whose range is unknown; convert it to 8 or 16 bits."
    )
  raise ValueError(f"{file} cannot be read as an image: it is damaged or cut off.")


def read_image(file: Path) -> np.ndarray:
  """Reads an image as uint8 [H,W,3] RGB; 16 bits are scaled to 8.

  Raises:
    ValueError: The file is missing, is no image, or holds floats or 32-bit integers.
  """
  data = read_bytes(file)
  image = _decode(data, _FLAGS)
  if image is None:
    _refuse(file, data)
  if image.dtype == np.uint16:
    image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
  if image.dtype != np.uint8:
    raise ValueError(
      f"{file} holds {image.dtype} (mode F), whose range is unknown; convert it to 8 or 16 bits."
    )
  return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def jpeg_bytes(file: Path) -> bytes | None:
  """The bytes of a JPEG file, which `Examples` decodes as `read_image` does; None for other formats."""
  with file.open("rb") as opened:
    start = opened.read(len(_JPEG))
    return start + opened.read() if start == _JPEG else None


def _spread(data: bytes) -> int:
  """The factor by which Pillow multiplies grey values of 2 or 4 bits, so that they fill 0..255."""
  is_grey_png = data[:4] == b"\x89PNG" and data[25:26] == b"\x00"
  return {2: 85, 4: 17}.get(data[24], 1) if is_grey_png else 1


def read_values(file: Path) -> tuple[np.ndarray, str]:
  """Reads the stored values of a file, without looking up the colors of a palette.

  Returns:
    The values [H,W] or [H,W,D], and Pillow's mode. 16-bit colors, which Pillow cannot read, have the
    mode `RGB;16`; their channels are blue, green, red.

  Raises:
    ValueError: The file is missing or no image.
  """
  data = read_bytes(file)
  # The bit depth and the kind of a PNG.
  if data[:4] == b"\x89PNG" and data[24:25] == b"\x10":
    array = _decode(data, cv2.IMREAD_UNCHANGED)
    if array is None:
      _refuse(file, data)
    return array, "I;16" if array.ndim == 2 else "RGB;16"
  try:
    with PIL.Image.open(io.BytesIO(data)) as image:
      values, spread = np.array(image), _spread(data)
      return values if spread == 1 else values // spread, image.mode
  except PIL.UnidentifiedImageError:  # its message names an object in memory
    reason = "it is damaged or no image"
  # Pillow raises SyntaxError for a broken PNG.
  except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
    reason = str(error).rstrip(".")
  raise ValueError(f"{file} cannot be read as an image: {reason}.")


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
