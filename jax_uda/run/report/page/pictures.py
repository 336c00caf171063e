"""The pictures of the page as data that HTML holds: predictions over images, errors, figures."""

import base64
import pathlib

import numpy as np

from jax_uda.data.datasets import image_files
from jax_uda.data.label_spaces import IGNORE, LabelSpace
from jax_uda.run.report import panels

OPACITY = 0.6  # of a prediction over its image
WRONG, RIGHT = (214, 69, 65), (235, 235, 235)


def data_uri(png: bytes) -> str:
  """A PNG file as the `src` of an HTML image."""
  return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def of_file(path: pathlib.Path) -> str:
  """A PNG file of a run."""
  return data_uri(path.read_bytes())


def of_image(image: np.ndarray) -> str:
  """An image uint8 [H,W,3] RGB."""
  return data_uri(image_files.encode_png(image))


def overlay(image: np.ndarray, label: np.ndarray, label_space: LabelSpace) -> np.ndarray:
  """uint8 [H,W,3]: the classes of label [H,W] in their colors over a grey image [H,W,3].

  Ignored pixels show the image alone.
  """
  grey = np.repeat(image.mean(-1, keepdims=True), 3, axis=-1)
  colors = panels.colorize(label, label_space).astype(np.float32)
  share = np.where(label[..., None] == IGNORE, 0.0, OPACITY)
  return ((1 - share) * grey + share * colors).round().astype(np.uint8)


def errors(image: np.ndarray, label: np.ndarray, truth: np.ndarray) -> np.ndarray:
  """uint8 [H,W,3]: red where a prediction [H,W] is wrong, light where right, dark where nobody knows."""
  shade = 0.6 + 0.4 * image.mean(-1, keepdims=True) / 255
  colors = np.where((label == truth)[..., None], RIGHT, WRONG)
  known = (truth != IGNORE)[..., None]
  return np.where(known, shade * colors, 40).round().astype(np.uint8)
