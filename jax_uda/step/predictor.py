"""Predictions of a network for images of any size.

The network is compiled for the size of what it sees at once, its *canvas*: an image, a window or a tile, padded
right and below up to a size that the network takes. Images and windows are cut out and padded by NumPy, and what
follows the network works on canvases, too. So images and labels of many sizes need few programs.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.ops import resize, windows
from jax_uda.ops.canvas import pad, round_up
from jax_uda.ops.pixels import to_unit
from jax_uda.ops.resize import Size, size_of
from jax_uda.step.inference import Inference, Prediction
from jax_uda.step.outputs import Network, Outputs

CANVAS = 64  # pixels: what is made of windows, and predictions of another size than the image's, are so rounded
# From outputs, matrices and width to arrays [B,H,W,…].
Finish = Callable[[Sequence[jax.Array], Any, Any], Any]
UNITS = (1, 8, 16, 32, 64)  # pixels; networks take all sizes, or multiples of their stride


class NetworkPrograms:
  """A network on crops of any size, in evaluation mode; its compiled programs are kept, one per canvas.

  Attributes:
    model: The network.
    mesh: The devices that share a batch.
    compiled: The jitted network, from variables and a canvas [B,H,W,3] to its output [B,H,W,C].
  """

  def __init__(self, model: Network, mesh: Mesh, settings: Inference):
    """Takes the network, the devices, and of the settings those that `key` names."""
    self.model, self.mesh = model, mesh
    self._align_corners, self._average, self._grid = self.key(settings)
    self.compiled = jax.jit(self.output_of, static_argnames="is_unit")
    self._canvases: dict[tuple[int, Size], Size] = {}

  @staticmethod
  def key(settings: Inference) -> tuple[bool, str, int]:
    """The settings on which the programs depend."""
    return settings.align_corners, settings.average, settings.grid

  def __call__(self, variables: Any, crop: np.ndarray, is_unit: bool = False) -> jax.Array:
    """The network's output [B,H,W,C] on the canvas of a crop [B,h,w,3]: logits or probabilities.

    `is_unit` says that the crop's values lie in [0, 1], not in 0..255.
    Right and below of the crop, the canvas shows the pixels of its edge, and the output means nothing.
    """
    canvas = self.canvas(variables, size_of(crop), len(crop))
    image = mesh_lib.put_whole(self.mesh, pad(crop, canvas))
    output = self.compiled(variables, image, is_unit=is_unit)
    if mesh_lib.must_wait(self.mesh):
      jax.block_until_ready(output)
    return output

  def canvas(self, variables: Any, size: Size, rows: int = 1) -> Size:
    """The size to which a crop of `size` is padded for the network; the crop's own if that is accepted.

    Args:
      variables: The network's variables, or their shapes.
      size: (height, width) of the crop.
      rows: The number of crops in a batch; a call with as many does not trace the network again.

    Raises:
      ValueError: The network refuses the crop for another reason than its size.
    """
    rows = -(-rows // self.mesh.size) * self.mesh.size
    if (rows, size) not in self._canvases:
      self._canvases[rows, size] = self._search(variables, size, rows)
    return self._canvases[rows, size]

  def _search(self, variables: Any, size: Size, rows: int) -> Size:
    refused = None
    for unit in UNITS:
      canvas = round_up(round_up(size, self._grid), unit)
      try:
        shape = jax.ShapeDtypeStruct((rows, *canvas, 3), jnp.uint8)
        self.compiled.eval_shape(variables, shape, is_unit=False)
        return canvas
      except ValueError as error:
        refused = refused or error
    assert refused is not None
    raise refused

  def output_of(self, variables: Any, crop: jax.Array, is_unit: bool = False) -> jax.Array:
    """The network's output on a canvas, as a pure function."""
    image = crop if is_unit else to_unit(crop)
    outputs: Outputs = self.model.apply(variables, image, train=False, use_running_average=True)
    logits = resize.bilinear(outputs.decoded.logits, size_of(image), self._align_corners)
    return jax.nn.softmax(logits) if self._average == "probabilities" else logits


class Predictor:
  """Predicts whole images with one network under one kind of inference.

  Every process gives all images and gets all predictions.

  Attributes:
    settings: How the network predicts.
    network: The network's programs; predictors may share them.
  """

  def __init__(self, network: NetworkPrograms, settings: Inference):
    """Takes the network's programs for these settings."""
    self.network, self.settings = network, settings
    replicated = mesh_lib.replicated(network.mesh)
    self._labels = jax.jit(self._average, out_shardings=replicated)
    self._probabilities = jax.jit(self._probability, out_shardings=replicated)
    scaled = lambda images, size: resize.bilinear(to_unit(images), size)
    self._scaled = jax.jit(scaled, static_argnames="size", out_shardings=replicated)

  def __call__(self, variables: Any, images: np.ndarray, size: Size) -> Prediction:
    """Labels and confidences of images uint8 [B,H,W,3] at (height, width) `size`."""
    return Prediction(*self._of_any_size(variables, images, size, self._labels))

  def probabilities(self, variables: Any, images: np.ndarray, size: Size) -> np.ndarray:
    """The probability of each class, float32 [B,*size,C], of images uint8 [B,H,W,3]."""
    return self._of_any_size(variables, images, size, self._probabilities)[0]

  def one_pass(self, variables: Any, images: jax.Array) -> Prediction:
    """Labels and confidences of images uint8 [B,H,W,3] at their size, as a pure function of arrays.

    The whole image is seen once, at a size that the network takes: settings other than class weights, the
    alignment of corners and the kind of average have no effect.
    """
    plain = dataclasses.replace(self.settings, window=None, stride=None, flip=False, scales=(1.0,))
    output = self.network.output_of(variables, images)
    return Prediction(*Predictor(self.network, plain)._average([output], None, images.shape[2]))

  def _of_any_size(
    self, variables: Any, images: np.ndarray, size: Size, finish: Finish
  ) -> tuple[np.ndarray, ...]:
    size = (int(size[0]), int(size[1]))
    rows = mesh_lib.fill_rows(self.network.mesh, images)
    predict = self._in_tiles if self.settings.is_tiled(size_of(images)) else self._predict
    return tuple(array[: len(images)] for array in predict(variables, rows, size, finish))

  def _predict(
    self, variables: Any, images: np.ndarray, size: Size, finish: Finish
  ) -> tuple[np.ndarray, ...]:
    """What `finish` makes of images that are not too large; `size` may be."""
    whole = size_of(images)
    sizes, outputs = self.settings.scaled(whole), []
    for scaled in sizes:
      network = functools.partial(self.network, variables, is_unit=scaled != whole)
      image = images
      if scaled != whole:
        rows = mesh_lib.put_whole(self.network.mesh, images)
        image = np.asarray(self._scaled(rows, size=scaled))
      outputs.append(self._run(network, image))
      if self.settings.flip:
        outputs.append(self._run(network, image[:, :, ::-1]))
    if all(
      scaled == size for scaled in sizes
    ):  # nothing is resized: images of one canvas share a program
      return self._cut(finish(outputs, None, size[1]), size)
    variants = [scaled for scaled in sizes for _ in range(1 + self.settings.flip)]
    shapes = [(scaled, size_of(output)) for scaled, output in zip(variants, outputs, strict=True)]
    return self._at_size(outputs, shapes, size, finish)

  def _run(self, network: Callable[[np.ndarray], jax.Array], image: np.ndarray) -> jax.Array:
    """What is averaged over windows, of an image [B,H,W,3], on a canvas that holds it: [B,H',W',C]."""
    window, stride = self.settings.window, self.settings.stride
    if window is None or stride is None:
      return network(image)

    def output_of(crop: np.ndarray) -> jax.Array:
      return _cut(network(crop), size_of(crop))

    canvas = round_up(size_of(image), CANVAS)
    return windows.sliding_logits(output_of, image, window, stride, canvas)

  def _at_size(
    self,
    outputs: Sequence[jax.Array],
    shapes: Sequence[tuple[Size, Size]],
    size: Size,
    finish: Finish,
  ) -> tuple[np.ndarray, ...]:
    """The prediction at `size`, which images do not have; some rows at a time if it is large.

    Args:
      outputs: Those of all variants, on their canvases.
      shapes: By variant, the size of the image and of its canvas.
      size: (height, width).
      finish: `_labels` or `_probabilities`.
    """
    align = self.settings.align_corners

    def matrix(axis: int, image: Size, canvas: Size) -> np.ndarray:
      linear = resize.linear_matrix(image[axis], size[axis], align).astype(np.float32)
      shown = round_up(size, CANVAS)[axis]  # further rows repeat the last one
      linear = np.pad(linear, ((0, shown - size[axis]), (0, 0)), mode="edge")
      return np.pad(linear, ((0, 0), (0, canvas[axis] - image[axis])))

    pairs = [(matrix(0, *shape), matrix(1, *shape)) for shape in shapes]
    height, parts = len(pairs[0][0]), []
    step = height if not self.settings.is_tiled(size) else self._strip_height(size)
    for first in range(0, height, step):
      # All strips are equally high, so that they share a program.
      strip = [(_rows(rows, first, step), columns) for rows, columns in pairs]
      parts.append(jax.tree.map(np.asarray, finish(outputs, strip, size[1])))
    return self._cut(tuple(np.concatenate(part, 1) for part in zip(*parts, strict=True)), size)

  def _strip_height(self, size: Size) -> int:
    return max(self.settings.whole_pixels // size[1], 1)

  @staticmethod
  def _cut(prediction: Any, size: Size) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(array)[:, : size[0], : size[1]] for array in prediction)

  def _average(self, outputs: Sequence[jax.Array], matrices: Any, width: Any) -> Any:
    """Labels and confidences from the outputs of all variants of an image; see `_sum`."""
    total, probability = self._sum(outputs, matrices, width)
    return jnp.argmax(total, -1).astype(jnp.uint8), jnp.max(probability, -1)

  def _probability(self, outputs: Sequence[jax.Array], matrices: Any, width: Any) -> Any:
    """The probabilities of all classes from the outputs of all variants of an image; see `_sum`."""
    return (self._sum(outputs, matrices, width)[1],)

  def _sum(
    self, outputs: Sequence[jax.Array], matrices: Any, width: Any
  ) -> tuple[jax.Array, jax.Array]:
    """The sum of scores [B,H,W,C] whose largest is the label, and the probabilities.

    Args:
      outputs: [B,H,W,C] each; with flips, every second one is mirrored.
      matrices: By variant, those that interpolate rows and columns; None: nothing is resized.
      width: The columns of the result that are of the image; a canvas may have more.
    """
    settings, weights = self.settings, jnp.asarray(self.settings.class_weights, jnp.float32)
    averages = settings.flip or len(settings.scales) > 1
    probability_of = lambda x: x if settings.average == "probabilities" else jax.nn.softmax(x)
    total = jnp.float32(0)
    for index, output in enumerate(outputs):
      resized = functools.partial(_interpolate, pair=matrices and matrices[index])
      if settings.class_weights:
        scores = resized(probability_of(output) * weights)
      else:
        scores = resized(output)
        scores = probability_of(scores) if averages else scores
      if settings.flip and index % 2:
        scores = jnp.roll(scores[:, :, ::-1], width - scores.shape[2], axis=2)
      total += scores
    probable = averages or settings.average == "probabilities" or bool(settings.class_weights)
    probability = total / jnp.sum(total, -1, keepdims=True) if probable else jax.nn.softmax(total)
    return total, probability

  def _in_tiles(
    self, variables: Any, images: np.ndarray, size: Size, finish: Finish
  ) -> tuple[np.ndarray, ...]:
    """The prediction of large images, tile by tile; resized to `size` by the nearest pixel."""
    whole, margin = size_of(images), self.settings.tile_margin
    arrays: tuple[np.ndarray, ...] = ()
    for y1, y2, x1, x2 in self.settings.tiles(whole):
      tile = self._predict(variables, images[:, y1:y2, x1:x2], (y2 - y1, x2 - x1), finish)
      # What the tile before predicted worse, beyond the middle of the overlap, is replaced.
      top, left = (margin if start else 0 for start in (y1, x1))
      arrays = arrays or tuple(
        np.zeros((len(part), *whole, *part.shape[3:]), part.dtype) for part in tile
      )
      for array, part in zip(arrays, tile, strict=True):
        array[:, y1 + top : y2, x1 + left : x2] = part[:, top:, left:]
    if size != whole:
      rows, columns = (np.arange(m) * n // m for n, m in zip(whole, size, strict=True))
      arrays = tuple(array[:, rows][:, :, columns] for array in arrays)
    return arrays


def _interpolate(x: jax.Array, pair: Any) -> jax.Array:
  """[B,H,W,C] with rows and columns interpolated by a pair of matrices; None: as it is."""
  if pair is None:
    return x
  return jnp.einsum("bhwd,Hh,Ww->bHWd", x, *pair, precision="highest")


def _rows(matrix: np.ndarray, first: int, number: int) -> np.ndarray:
  """`number` rows from `first` on; behind the last one, it is repeated."""
  return matrix[np.minimum(np.arange(first, first + number), len(matrix) - 1)]


@functools.partial(jax.jit, static_argnames="size")
def _cut(output: jax.Array, size: Size) -> jax.Array:
  return output[:, : size[0], : size[1]]


def make_predictor(model: Network, mesh: Mesh, settings: Inference) -> Predictor:
  """A predictor with programs of its own."""
  return Predictor(NetworkPrograms(model, mesh, settings), settings)
