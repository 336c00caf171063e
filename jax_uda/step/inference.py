"""How a network predicts whole images: windows, scales and mirror images, averaged; and what it predicts."""

import dataclasses
import math
from typing import Literal, NamedTuple

import numpy as np

from jax_uda.common.registry import SettingError
from jax_uda.ops import windows
from jax_uda.ops.resize import Size

WHOLE_PIXELS = 2**22
TILE_UNIT = 64  # pixels: sides of tiles are multiples of it, which all networks take


@dataclasses.dataclass(frozen=True)
class Inference:
  """How a network predicts an image; the default is one pass of the whole image.

  Attributes:
    window: (height, width) of windows whose outputs are averaged before they are resized (DAFormer,
      HRDA); None = the whole image at once.
    stride: (height, width) between windows.
    flip: Whether the mirrored image is predicted, too; probabilities are averaged at full size.
    scales: Factors of the image's size at which it is predicted; probabilities are averaged.
    average: What is averaged over windows and resized: logits, or probabilities (VFM-UDA).
    align_corners: Corner alignment of every resizing of the network's output (SPCL, RCCR); images are
      resized without.
    class_weights: [C] factors of the probabilities at the network's input size, which are then
      resized (SePiCo; golden `sepico/dark_class_weight`). Empty = none.
    grid: What the network sees at once is padded up to multiples of so many pixels. 1 pads only what the
      network refuses. A coarser grid needs fewer programs for images of many sizes, and changes
      predictions a little (docs/own_data.md).
    whole_pixels: An image of more pixels is predicted in overlapping tiles of no more pixels, so that
      memory does not grow with the image.

  Raises:
    SettingError: A value cannot be used.
  """

  window: Size | None = None
  stride: Size | None = None
  flip: bool = False
  scales: tuple[float, ...] = (1.0,)
  average: Literal["logits", "probabilities"] = "logits"
  align_corners: bool = False
  class_weights: tuple[float, ...] = ()
  grid: int = 1
  whole_pixels: int = WHOLE_PIXELS

  def __post_init__(self):
    sizes = [size for size in (self.window, self.stride) if size is not None]
    if len(sizes) == 1 or any(len(size) != 2 for size in sizes):
      shown = lambda size: () if size is None else tuple(size)
      raise SettingError(
        "window",
        f"= {shown(self.window)} and stride = {shown(self.stride)} must both be (height, width), or "
        "both empty.",
      )
    if not self.scales or min(self.scales) <= 0:
      raise SettingError("scales", f"= {self.scales} must be factors above 0, e.g. (0.75, 1.0).")
    if self.average not in ("logits", "probabilities"):
      raise SettingError("average", f"= {self.average!r} must be 'logits' or 'probabilities'.")
    if self.class_weights and min(self.class_weights) <= 0:
      raise SettingError("class_weights", f"= {self.class_weights} must be factors above 0.")
    if self.grid < 1:
      raise SettingError("grid", f"= {self.grid} must be a number of pixels, at least 1.")
    if self.whole_pixels < TILE_UNIT**2:
      raise SettingError("whole_pixels", f"= {self.whole_pixels} must be at least {TILE_UNIT**2}.")

  def is_tiled(self, size: Size) -> bool:
    """Whether an image of `size` is predicted in tiles."""
    return math.prod(size) > self.whole_pixels

  @property
  def tile(self) -> Size:
    """(height, width) of the tiles of a large image."""
    side = math.isqrt(self.whole_pixels) // TILE_UNIT * TILE_UNIT
    return side, side

  @property
  def tile_margin(self) -> int:
    """Pixels at the edges of a tile that its neighbours predict."""
    return self.tile[0] // 8

  def tiles(self, size: Size) -> list[windows.Box]:
    """The tiles of a large image, row by row; each overlaps its neighbours by two margins."""
    step = self.tile[0] - 2 * self.tile_margin
    return windows.boxes(size, self.tile, (step, step))

  def scaled(self, size: Size) -> list[Size]:
    """The sizes at which an image of `size` is predicted, one per scale."""
    side = lambda length, scale: max(int(length * scale + 0.5), 1)
    return [(side(size[0], scale), side(size[1], scale)) for scale in self.scales]

  def crops(self, size: Size) -> list[Size]:
    """The sizes of what the network sees at once of an image of `size`: all of it, a tile or a window.

    Raises:
      ValueError: The windows have gaps between them.
    """
    if self.is_tiled(size):
      y1, y2, x1, x2 = self.tiles(size)[0]
      size = (y2 - y1, x2 - x1)
    crops = []
    for scaled in self.scaled(size):
      if self.window is not None and self.stride is not None:
        y1, y2, x1, x2 = windows.boxes(scaled, self.window, self.stride)[0]
        scaled = (y2 - y1, x2 - x1)
      crops.append(scaled)
    return list(dict.fromkeys(crops))

  def check_classes(self, num_classes: int) -> None:
    """Raises SettingError if there are class weights, but not one for each class."""
    if self.class_weights and len(self.class_weights) != num_classes:
      raise SettingError(
        "class_weights",
        f"= {self.class_weights} must be {num_classes} factors above 0, one for each class, or empty.",
      )


class Prediction(NamedTuple):
  """Labels of images, and how sure the network is.

  Attributes:
    label: uint8 [B,H,W] train ids.
    confidence: float32 [B,H,W], the largest probability of each pixel.
  """

  label: np.ndarray
  confidence: np.ndarray
