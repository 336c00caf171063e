"""One prepared image with its label. Free of JAX and TFDS: the processes that draw scenes use it."""

from typing import NamedTuple

import cv2
import numpy as np


class Example(NamedTuple):
  """An encoded image.

  Attributes:
    image: RGB, as PNG.
    label: Train ids, 255 = ignore, as 8-bit grey PNG.
    class_pixels: Pixels of each class, C numbers.
  """

  image: bytes
  label: bytes
  class_pixels: tuple[int, ...]


def _png(array: np.ndarray) -> bytes:
  return cv2.imencode(".png", array)[1].tobytes()


def encode(image: np.ndarray, label: np.ndarray, num_classes: int) -> Example:
  """Encodes an image [H,W,3] and its label [H,W], both uint8."""
  counts = np.bincount(label.ravel(), minlength=256)[:num_classes]
  return Example(_png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR)), _png(label), tuple(counts.tolist()))
