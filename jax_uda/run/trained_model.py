"""A trained network, to predict with; neither its training data nor its config are needed.

model = uda.load("runs/demo")
prediction = model("street.jpg")
prediction.label, prediction.confidence, prediction.probabilities, prediction.overlay()
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, overload

import jax
import numpy as np
import PIL.Image
from jax.sharding import Mesh

from jax_uda import models
from jax_uda.data.datasets import image_files
from jax_uda.data.datasets.value_range import Reading
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import rescale
from jax_uda.ops.resize import Size, size_of
from jax_uda.run import best_checkpoint
from jax_uda.run.image_prediction import ImagePrediction
from jax_uda.step.inference import Inference, Prediction
from jax_uda.step.predictor import Predictor, make_predictor

# What can be predicted: a file, an array uint8 [H,W,3], or Pillow's image.
AnyImage = str | os.PathLike[str] | np.ndarray | PIL.Image.Image


@dataclasses.dataclass(frozen=True, eq=False)
class TrainedModel:
  """A trained network and what its outputs mean.

  Attributes:
    model: The network, without the heads that served training alone.
    variables: Its weights.
    classes: Names and palette of the classes.
    inference: How the run was evaluated on its target: windows, flips, scales, class weights.
    image_bound: (height, width) into which images are fitted before the network sees them, as in the run's
      evaluation; None: they keep their size.
    step: Number of training steps behind the weights.
    mesh: Devices that share a batch.
    checkpoint: What the run calls the checkpoint: "last", or the best one, an oracle.
    network: "student" or "teacher".
    folder: Folder of the run; None if the network comes from a file.
    reading: How image files are read: bands and range of values.
    batch_size: Images that the run predicted together in its evaluation.
    image_sizes: Sizes of images on which the network was scored, as far as they are known.
    settings: The config group `model`, which builds the network.
    compute_dtype: As `config.compute_dtype`.
  """

  model: models.Segmentor
  variables: Mapping[str, Any]
  classes: LabelSpace
  inference: Inference
  image_bound: Size | None
  step: int
  mesh: Mesh
  checkpoint: str = best_checkpoint.TITLES[best_checkpoint.LAST]
  network: str = "student"
  folder: pathlib.Path | None = None
  reading: Reading = Reading()
  batch_size: int = 1
  image_sizes: tuple[Size, ...] = ()
  settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  compute_dtype: str = "float32"

  @functools.cached_property
  def _predictor(self) -> Predictor:
    """The network is compiled once per size that it sees."""
    return make_predictor(self.model, self.mesh, self.inference)

  def predictor(self, images: np.ndarray, size: Size) -> Prediction:
    """Labels and confidences [B,*size] of images uint8 [B,H,W,3] that are fitted already."""
    return self._predictor(self.variables, images, size)

  def one_pass(self, images: jax.Array) -> Prediction:
    """Labels and confidences of images uint8 [B,H,W,3], as a pure function; see `Predictor.one_pass`."""
    return self._predictor.one_pass(self.variables, images)

  @overload
  def __call__(self, image: AnyImage) -> ImagePrediction: ...

  @overload
  def __call__(self, image: Sequence[AnyImage]) -> list[ImagePrediction]: ...

  def __call__(
    self, image: AnyImage | Sequence[AnyImage]
  ) -> ImagePrediction | list[ImagePrediction]:
    """Predicts an image of any size, or each of a list.

    Args:
      image: A file, an array uint8 RGB [H,W,3], or an image of Pillow; or a list of them.

    Raises:
      ValueError: A file cannot be read, or an array is no uint8 image.
    """
    if isinstance(image, list | tuple):
      return [self(item) for item in image]
    pixels = self._pixels(image)  # pyright: ignore[reportArgumentType]
    fitted = rescale.fit(pixels, self.image_bound)[None]
    label, confidence = self.predictor(fitted, size_of(pixels[None]))
    return ImagePrediction(
      pixels,
      label[0],
      confidence[0],
      self.classes,
      lambda: self._predictor.probabilities(self.variables, fitted, size_of(pixels[None]))[0],
    )

  def _pixels(self, image: AnyImage) -> np.ndarray:
    """An image as uint8 RGB [H,W,3]."""
    if isinstance(image, str | os.PathLike):
      return image_files.read_image(pathlib.Path(image).expanduser(), self.reading)
    if isinstance(image, PIL.Image.Image):
      return np.asarray(image.convert("RGB"))
    _check_image(image, ndim=3)
    return image

  @overload
  def predict(self, images: np.ndarray) -> Prediction: ...

  @overload
  def predict(self, images: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]: ...

  def predict(
    self, images: np.ndarray | Sequence[np.ndarray]
  ) -> Prediction | tuple[list[np.ndarray], list[np.ndarray]]:
    """The classes of images and how sure the network is of them.

    Args:
      images: uint8 RGB, either [B,H,W,3] or a list of arrays [H,W,3] of any sizes.

    Returns:
      Labels, uint8 train ids [B,H,W], and confidences, float32 in [0, 1], of the same shape; for a list two
      lists of arrays [H,W], one per image.

    Raises:
      ValueError: An array is no uint8 image.
    """
    for image in [images] if isinstance(images, np.ndarray) else images:
      _check_image(image, ndim=4 if isinstance(images, np.ndarray) else 3)
    if isinstance(images, np.ndarray):
      return self._predict_batch(images)
    predictions = [self._predict_batch(image[None]) for image in images]
    labels = [prediction.label[0] for prediction in predictions]
    return labels, [prediction.confidence[0] for prediction in predictions]

  def _predict_batch(self, images: np.ndarray) -> Prediction:
    """Predicts images [B,H,W,3] at their own size."""
    fitted = np.stack([rescale.fit(image, self.image_bound) for image in images])
    return self.predictor(fitted, size_of(images))


def _check_image(image: Any, ndim: int) -> None:
  shape = "[B,H,W,3]" if ndim == 4 else "[H,W,3]"
  array = np.asarray(image)
  if array.ndim != ndim or array.shape[-1] != 3 or array.dtype != np.uint8:
    raise ValueError(
      f"images must be uint8 {shape}, or a list of uint8 [H,W,3], not {array.dtype} "
      f"{list(array.shape)}"
    )
