"""Resizing of images and label maps on disk, as the reference pipelines do it (golden `image_rescale`).

Images: OpenCV's bilinear interpolation without antialiasing; labels: nearest. Sizes are
(height, width) in pixels.
"""

import cv2
import numpy as np


def keep_ratio_size(size: tuple[int, int], bound: tuple[int, int]) -> tuple[int, int]:
  """The largest size with the ratio of `size` whose long and short sides fit those of `bound`."""
  scale = min(max(bound) / max(size), min(bound) / min(size))
  height, width = (int(side * scale + 0.5) for side in size)
  return height, width


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H,W,3] uint8 -> [*size,3] uint8, bilinear."""
  return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H,W] uint8 -> [*size] uint8, nearest."""
  return cv2.resize(label, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
