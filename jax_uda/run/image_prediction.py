"""The prediction of one image, as arrays and as pictures."""

import dataclasses
import functools
import io
import pathlib
from collections.abc import Callable

import cv2
import numpy as np
import PIL.Image

from jax_uda.common import files
from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import LabelSpace

OPACITY = 0.55  # of the colors over an image


@dataclasses.dataclass(frozen=True, eq=False)
class ImagePrediction:
  """What a network predicts for one image.

  Attributes:
    image: uint8 RGB [H,W,3], the image.
    label: uint8 [H,W], the number of the class of each pixel.
    confidence: float32 [H,W] in [0, 1], the probability of that class.
    classes: The classes: `classes.names[label[y, x]]` is a name, `classes.palette` has the colors.
    predict_probabilities: Gives `probabilities` when they are asked for.
  """

  image: np.ndarray
  label: np.ndarray
  confidence: np.ndarray
  classes: LabelSpace
  predict_probabilities: Callable[[], np.ndarray]

  @functools.cached_property
  def probabilities(self) -> np.ndarray:
    """float32 [H,W,C] in [0, 1], the probability of each class; the network runs once more for them."""
    return self.predict_probabilities()

  @property
  def colors(self) -> np.ndarray:
    """uint8 RGB [H,W,3], each pixel in the color of its class."""
    return self.classes.palette[self.label]

  def overlay(self, opacity: float = OPACITY) -> np.ndarray:
    """uint8 RGB [H,W,3], the image with the colors of the classes over it.

    Args:
      opacity: 0 shows the image alone, 1 the colors alone.
    """
    return blend(self.image, self.colors, opacity)

  def save(self, file: str | pathlib.Path) -> None:
    """Writes the label as a PNG of class numbers, which viewers show in the colors of the classes."""
    numbers = np.arange(self.classes.num_classes, dtype=np.uint8)
    path = pathlib.Path(file).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write_bytes_atomically(path, encode(self.label, palette_of(self.classes, numbers)))


def blend(image: np.ndarray, colors: np.ndarray, opacity: float = OPACITY) -> np.ndarray:
  """uint8 RGB [H,W,3]: colors over an image of the same size.

  Raises:
    ValueError: `opacity` is not between 0 and 1.
  """
  if not 0 <= opacity <= 1:
    raise ValueError(f"opacity = {opacity} must be a number from 0 to 1.")
  return cv2.addWeighted(image, 1 - opacity, colors, opacity, 0)


def palette_of(label_space: LabelSpace, ids: np.ndarray) -> bytes:
  """The colors of a PNG whose values are `ids`, as Pillow takes them: 256 times red, green, blue."""
  colors = np.zeros((256, 3), np.uint8)
  colors[ids] = label_space.palette
  return colors.tobytes()


def encode(ids: np.ndarray, palette: bytes | None) -> bytes:
  """The bytes of a PNG of ids uint8 [H,W]: grey values, or indices of a palette."""
  if palette is None:
    return image_files.encode_png(ids)
  picture, buffer = PIL.Image.fromarray(ids), io.BytesIO()
  picture.putpalette(palette)
  picture.save(buffer, "PNG")
  return buffer.getvalue()


def encode_jpeg(image: np.ndarray, quality: int = 92) -> bytes:
  """The bytes of a JPEG of an image uint8 RGB [H,W,3]."""
  buffer = io.BytesIO()
  PIL.Image.fromarray(image).save(buffer, "JPEG", quality=quality, subsampling=0)
  return buffer.getvalue()
