"""Reading image and label files, alike for all data sets of files and for images to predict."""

import io

import cv2
import numpy as np
import PIL.Image

from jax_uda.common.paths import Path

# As it lies in the file, like its label: an orientation in the metadata does not count.
_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION | cv2.IMREAD_ANYDEPTH
_JPEG = b"\xff\xd8\xff"  # how such files begin


def read_bytes(file: Path) -> bytes:
  """What is in the file; raises ValueError if it cannot be read."""
  try:
    return file.read_bytes()
  except OSError as error:
    raise ValueError(f"{file} cannot be read: {error.strerror or error}.") from None


def _decode(data: bytes, flags: int) -> np.ndarray | None:
  try:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flags)
  except cv2.error:  # of an empty file
    return None


def _refuse(file: Path, data: bytes) -> None:
  """Raises ValueError that says why there is no image in `data`."""
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
  """uint8 [H,W,3] RGB; 16 bits are scaled to 8.

  Raises:
    ValueError: The file is missing, no image, or holds floats or 32-bit integers.
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
  """The bytes of a JPEG file, which `Examples` decodes as `read_image` does; None: another format."""
  with file.open("rb") as opened:
    start = opened.read(len(_JPEG))
    return start + opened.read() if start == _JPEG else None


def _spread(data: bytes) -> int:
  """What Pillow multiplies the values of a grey PNG of 2 or 4 bits by, so that they fill 0..255."""
  is_grey_png = data[:4] == b"\x89PNG" and data[25:26] == b"\x00"
  return {2: 85, 4: 17}.get(data[24], 1) if is_grey_png else 1


def read_values(file: Path) -> tuple[np.ndarray, str]:
  """[H,W] or [H,W,D] of what a file stores, indices of a palette as they are, and Pillow's mode.

  16-bit colours, which Pillow cannot read, have mode `RGB;16`.

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
  except (OSError, SyntaxError, PIL.Image.DecompressionBombError) as error:
    reason = str(error).rstrip(".")  # SyntaxError: Pillow's word for a broken PNG
  raise ValueError(f"{file} cannot be read as an image: {reason}.")


# OpenCV's own settings suit photographs. A label map is made of runs of equal bytes: without a filter it
# is shorter, and decoded some five times as fast.
_LABEL = [
  *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
  *(cv2.IMWRITE_PNG_COMPRESSION, 6),
]
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # since OpenCV 4.12
  _LABEL += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]


def encode_png(array: np.ndarray) -> bytes:
  """RGB [H,W,3] or grey [H,W], uint8, as the bytes of a PNG file."""
  if array.ndim == 3:
    return cv2.imencode(".png", cv2.cvtColor(array, cv2.COLOR_RGB2BGR))[1].tobytes()
  return cv2.imencode(".png", array, _LABEL)[1].tobytes()
