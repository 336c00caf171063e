"""Predictions of a network for images of any size.

The network is compiled for the size of what it sees at once, its *canvas*: an image, a window or a tile, padded
right and below up to a size that the network takes. All other programs (scaling, cutting windows out, resizing to
the labels' size) are small. So images and labels of many sizes need few programs of the network.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.ops import resize, windows
from jax_uda.ops.pixels import to_unit
from jax_uda.ops.resize import Size, size_of
from jax_uda.step.inference import Inference, Prediction
from jax_uda.step.outputs import Network, Outputs

UNITS = (1, 8, 16, 32, 64)  # pixels; networks take all sizes, or multiples of their stride


def round_up(size: Size, unit: int) -> Size:
  """The least multiples of `unit` that hold `size`."""
  return -(-size[0] // unit) * unit, -(-size[1] // unit) * unit


@functools.partial(jax.jit, static_argnames="canvas")
def pad(image: jax.Array, canvas: Size) -> jax.Array:
  """Pads an image [B,H,W,3] right and below up to `canvas` with the pixels of its edge."""
  more = [(0, target - side) for side, target in zip(size_of(image), canvas, strict=True)]
  return jnp.pad(image, ((0, 0), *more, (0, 0)), mode="edge") if any(map(any, more)) else image


@functools.partial(jax.jit, static_argnames="size")
def _cut(output: jax.Array, size: Size) -> jax.Array:
  return output[:, : size[0], : size[1]]


@functools.partial(jax.jit, static_argnames=("size", "flip"))
def _variant(image: jax.Array, size: Size, flip: bool) -> jax.Array:
  """An image uint8 [B,H,W,3] in [0, 1] at `size`, mirrored or not."""
  scaled = resize.bilinear(to_unit(image), size)
  return scaled[:, :, ::-1] if flip else scaled


class Predictor:
  """Predicts with one network under one kind of inference; what it has compiled is kept.

  The network runs in evaluation mode. Every process gives all images and gets all predictions.
  """

  def __init__(self, model: Network, mesh: Mesh, settings: Inference):
    """Takes the network, the devices that share a batch, and how the network predicts."""
    self.settings = settings
    self._model, self._mesh = model, mesh
    self._network = jax.jit(self._output_of)
    replicated = mesh_lib.replicated(mesh)
    self._whole = jax.jit(self._finish, static_argnames="size", out_shardings=replicated)
    self._strip = jax.jit(self._finish_strip, out_shardings=replicated)
    self._canvases: dict[tuple[int, Size], Size] = {}

  def __call__(self, variables: Any, images: np.ndarray, size: Size) -> Prediction:
    """Labels and confidences of images uint8 [B,H,W,3] at (height, width) `size`."""
    size = (int(size[0]), int(size[1]))
    if self.settings.is_tiled(size_of(images)):
      return self._in_tiles(variables, images, size)
    label = functools.partial(self._predict, variables, size=size)
    return Prediction(*mesh_lib.apply_to_rows(self._mesh, label, images))

  def canvas(self, variables: Any, size: Size, rows: int = 1) -> Size:
    """The size to which a crop of `size` is padded for the network; the crop's own if that is accepted.

    Args:
      variables: The network's variables, or their shapes.
      size: (height, width) of the crop.
      rows: The number of crops in a batch; `__call__` with as many does not trace the network again.

    Raises:
      ValueError: The network refuses the crop for another reason than its size.
    """
    rows = -(-rows // self._mesh.size) * self._mesh.size
    if (rows, size) not in self._canvases:
      self._canvases[rows, size] = self._search(variables, size, rows)
    return self._canvases[rows, size]

  def _search(self, variables: Any, size: Size, rows: int) -> Size:
    refused = None
    for unit in UNITS:
      canvas = round_up(round_up(size, self.settings.grid), unit)
      try:
        self._network.eval_shape(variables, jax.ShapeDtypeStruct((rows, *canvas, 3), jnp.float32))
        return canvas
      except ValueError as error:
        refused = refused or error
    assert refused is not None
    raise refused

  def _predict(self, variables: Any, images: jax.Array, size: Size) -> tuple[Any, Any]:
    """Labels and confidences [B,*size], as arrays or as NumPy arrays made of strips."""
    flips = (False, True) if self.settings.flip else (False,)
    outputs = tuple(
      self._run(variables, _variant(images, scaled, flip))
      for scaled in self.settings.scaled(size_of(images))
      for flip in flips
    )
    if not self.settings.is_tiled(size):
      return self._whole(outputs, size=size)
    return self._in_strips(outputs, size)

  def _run(self, variables: Any, image: jax.Array) -> jax.Array:
    """What is averaged over windows [B,H,W,C] of an image [B,H,W,3]."""
    window, stride = self.settings.window, self.settings.stride
    if window is None or stride is None:
      return self._look(variables, image)
    return windows.sliding_logits(functools.partial(self._look, variables), image, window, stride)

  def _look(self, variables: Any, crop: jax.Array) -> jax.Array:
    """The network's output [B,h,w,C] at the size of the crop [B,h,w,3]."""
    size = size_of(crop)
    canvas = self.canvas(variables, size, crop.shape[0])
    if canvas == size:
      output = self._network(variables, crop)
    else:
      output = _cut(self._network(variables, pad(crop, canvas)), size)
    if mesh_lib.must_wait(self._mesh):
      jax.block_until_ready(output)
    return output

  def _output_of(self, variables: Any, crop: jax.Array) -> jax.Array:
    outputs: Outputs = self._model.apply(variables, crop, train=False, use_running_average=True)
    logits = resize.bilinear(outputs.decoded.logits, size_of(crop), self.settings.align_corners)
    return jax.nn.softmax(logits) if self.settings.average == "probabilities" else logits

  def _finish(self, outputs: Sequence[jax.Array], size: Size) -> tuple[jax.Array, jax.Array]:
    """The prediction at `size` from the outputs of all variants of an image."""
    align = self.settings.align_corners
    return self._average([lambda x: resize.bilinear(x, size, align)] * len(outputs), outputs)

  def _finish_strip(
    self, outputs: Sequence[jax.Array], matrices: Sequence[tuple[jax.Array, jax.Array]]
  ) -> tuple[jax.Array, jax.Array]:
    """The prediction of some rows; the matrices of each variant interpolate rows and columns."""
    interpolate = lambda x, rows, columns: jnp.einsum(
      "bhwd,Hh,Ww->bHWd", x, rows, columns, precision="highest"
    )
    resizers = [lambda x, pair=pair: interpolate(x, *pair) for pair in matrices]
    return self._average(resizers, outputs)

  def _average(
    self, resizers: Sequence[Callable[[jax.Array], jax.Array]], outputs: Sequence[jax.Array]
  ) -> tuple[jax.Array, jax.Array]:
    settings, weights = self.settings, jnp.asarray(self.settings.class_weights, jnp.float32)
    averages = settings.flip or len(settings.scales) > 1
    probability_of = lambda x: x if settings.average == "probabilities" else jax.nn.softmax(x)
    total = jnp.float32(0)
    for index, (output, resized) in enumerate(zip(outputs, resizers, strict=True)):
      if settings.class_weights:
        scores = resized(probability_of(output) * weights)
      else:
        scores = resized(output)
        scores = probability_of(scores) if averages else scores
      is_mirrored = settings.flip and index % 2
      total += scores[:, :, ::-1] if is_mirrored else scores
    probable = averages or settings.average == "probabilities" or bool(settings.class_weights)
    probability = total / jnp.sum(total, -1, keepdims=True) if probable else jax.nn.softmax(total)
    return jnp.argmax(total, -1).astype(jnp.uint8), jnp.max(probability, -1)

  def _in_strips(self, outputs: Sequence[jax.Array], size: Size) -> tuple[np.ndarray, np.ndarray]:
    """A large prediction of a small image: some rows at a time, with one program for all of them."""
    align, height = self.settings.align_corners, max(self.settings.whole_pixels // size[1], 1)
    matrix = lambda n, m: resize.linear_matrix(n, m, align).astype(np.float32)
    matrices = [tuple(map(matrix, size_of(x), size)) for x in outputs]
    labels, confidences = [], []
    for first in range(0, size[0], height):
      first = min(first, max(size[0] - height, 0))  # the last strip is as high as the others
      strip = [(rows[first : first + height], columns) for rows, columns in matrices]
      label, confidence = self._strip(outputs, strip)
      skip = sum(part.shape[1] for part in labels) - first
      labels.append(np.asarray(label)[:, skip:])
      confidences.append(np.asarray(confidence)[:, skip:])
    return np.concatenate(labels, 1), np.concatenate(confidences, 1)

  def _in_tiles(self, variables: Any, images: np.ndarray, size: Size) -> Prediction:
    """The prediction of large images, tile by tile; resized to `size` by the nearest pixel."""
    whole, margin = size_of(images), self.settings.tile_margin
    label = np.zeros((len(images), *whole), np.uint8)
    confidence = np.zeros(label.shape, np.float32)
    for y1, y2, x1, x2 in self.settings.tiles(whole):
      label_rows = functools.partial(self._predict, variables, size=(y2 - y1, x2 - x1))
      tile = mesh_lib.apply_to_rows(self._mesh, label_rows, images[:, y1:y2, x1:x2])
      # What the tile before predicted worse, beyond the middle of the overlap, is replaced.
      top, left = (margin if start else 0 for start in (y1, x1))
      for array, part in zip((label, confidence), tile, strict=True):
        array[:, y1 + top : y2, x1 + left : x2] = part[:, top:, left:]
    if size != whole:
      rows, columns = (np.arange(m) * n // m for n, m in zip(whole, size, strict=True))
      label, confidence = (array[:, rows][:, :, columns] for array in (label, confidence))
    return Prediction(label, confidence)
