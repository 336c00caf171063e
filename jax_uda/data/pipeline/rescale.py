"""Resizing of images and label maps as the reference pipelines do it (golden `image_rescale`).

Images are resized by OpenCV's bilinear interpolation without antialiasing, labels by the nearest pixel.
"""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import PIL.Image

from jax_uda.common.registry import SettingError

Size = tuple[int, int]  # (height, width) in pixels


def keep_ratio_size(size: Size, bound: Size) -> Size:
  """The largest size with the ratio of `size` whose long and short sides fit those of `bound`.

  No side is less than a pixel, however long and narrow an image is.
  """
  scale = min(max(bound) / max(size), min(bound) / min(size))
  height, width = (max(int(side * scale + 0.5), 1) for side in size)
  return height, width


def fit(image: np.ndarray, bound: Size | None) -> np.ndarray:
  """Resizes an image [H,W,3] uint8 as preparing does: into `bound`, or not at all if that is None.

  This alone decides the size at which a network sees an image file. It depends on the image and on the
  data set's setting `size`, never on other images.
  """
  if bound is None:
    return image
  height, width = image.shape[:2]
  return resize_image(image, keep_ratio_size((height, width), bound))


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
  """[H,W,3] uint8 -> [*size,3] uint8, bilinear."""
  return cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)


def resize_label(label: np.ndarray, size: Size) -> np.ndarray:
  """[H,W] uint8 -> [*size] uint8, nearest."""
  return cv2.resize(label, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)


def check_scale(name: str, scale: Sequence[float] | None) -> None:
  """Raises SettingError unless `scale` is None or (least, largest) with 0 < least <= largest."""
  if scale is not None and (len(scale) != 2 or not 0 < scale[0] <= scale[1]):
    raise SettingError(name, f"= {tuple(scale)} must be (least, largest), both above 0, or empty.")


def scale_example(example: Mapping[str, np.ndarray], factor: float) -> dict[str, np.ndarray]:
  """Resizes all arrays [H,W] (nearest) and [H,W,3] (bicubic) by `factor`, with Pillow."""
  kinds = {2: PIL.Image.Resampling.NEAREST, 3: PIL.Image.Resampling.BICUBIC}

  def resized(array: np.ndarray) -> np.ndarray:
    height, width = (max(int(side * factor + 0.5), 1) for side in array.shape[:2])
    return np.asarray(PIL.Image.fromarray(array).resize((width, height), kinds[array.ndim]))

  return {name: resized(array) for name, array in example.items()}
