"""Random textures: tileable fields of fractal noise."""

import cv2
import numpy as np


def field(rng: np.random.Generator, size: int = 256, slope: float = 1.2) -> np.ndarray:
  """A tileable field [size, size] float32 of mean 0 and deviation 1, its spectrum falling as f^-slope."""
  fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
  frequency = np.hypot(fy, fx)
  frequency[0, 0] = np.inf
  spectrum = rng.normal(size=(2, *frequency.shape)) * frequency**-slope
  values = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(size, size))
  return (values / values.std()).astype(np.float32)


def sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """The field at the coordinates x, y (any equal shape [H, W], in its pixels), repeated without end."""
  size = len(tile)
  x, y = np.mod(x, size).astype(np.float32), np.mod(y, size).astype(np.float32)
  return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
