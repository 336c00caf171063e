"""Images and label maps as PNG bytes."""

import cv2
import numpy as np


def encode(array: np.ndarray) -> bytes:
  """RGB [H,W,3] or grey [H,W], uint8, as the bytes of a PNG file."""
  if array.ndim == 3:
    array = cv2.cvtColor(array, cv2.COLOR_RGB2BGR)
  return cv2.imencode(".png", array)[1].tobytes()
