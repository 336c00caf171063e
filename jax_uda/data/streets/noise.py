"""Random textures: two tileable fields of noise, drawn once per scene and cut into pieces."""

from typing import NamedTuple

import cv2
import numpy as np


class Grain(NamedTuple):
  """Fields [N, N] float32 of mean 0 and deviation 1 that repeat without a seam."""

  cloudy: np.ndarray  # large structures with fine detail
  leafy: np.ndarray  # fine grain


def grain(rng: np.random.Generator) -> Grain:
  """Draws both fields."""
  return Grain(_field(rng, 160, 1.2), _field(rng, 96, 0.55))


def sample(tile: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
  """The field at the coordinates x, y [H, W] in its pixels (below 2^15), interpolated."""
  x, y = np.broadcast_arrays(x, y)
  x, y = (np.ascontiguousarray(v, np.float32) for v in (x, y))
  return cv2.remap(tile, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)


def cut(tile: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
  """The field [R, C] at the nearest pixels to rows [R] and columns [C]."""
  size = len(tile)
  return tile[np.ix_(rows.astype(int) % size, columns.astype(int) % size)]


def _field(rng: np.random.Generator, size: int, slope: float) -> np.ndarray:
  """A field whose spectrum falls as frequency^-slope."""
  frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
  frequency[0, 0] = np.inf
  spectrum = np.fft.rfft2(rng.normal(size=(size, size))) * frequency**-slope
  values = np.fft.irfft2(spectrum, s=(size, size))
  return (values / values.std()).astype(np.float32)
