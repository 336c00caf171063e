"""Predictions of a network for whole images: windows, scales and mirror images, averaged."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.registry import SettingError
from jax_uda.ops import resize, windows
from jax_uda.ops.pixels import to_unit
from jax_uda.ops.resize import Size, size_of
from jax_uda.step.outputs import Network, Outputs


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


def make_predict(
  model: Network, mesh: Mesh, settings: Inference
) -> Callable[[Any, np.ndarray, Size], Prediction]:
  """Returns `predict(variables, image uint8 [B,H,W,3], size) -> Prediction` of (height, width) `size`.

  The network runs in evaluation mode. Every process gives all images and gets all predictions.
  """
  averages = settings.flip or len(settings.scales) > 1
  resized = functools.partial(resize.bilinear, align_corners=settings.align_corners)
  weights = jnp.asarray(settings.class_weights, jnp.float32)

  def output_of(variables: Any, crop: jax.Array) -> jax.Array:
    """What is averaged over windows, at the size of the crop."""
    outputs: Outputs = model.apply(variables, crop, train=False, use_running_average=True)
    logits = resized(outputs.decoded.logits, size_of(crop))
    return jax.nn.softmax(logits) if settings.average == "probabilities" else logits

  def probability_of(output: jax.Array) -> jax.Array:
    return output if settings.average == "probabilities" else jax.nn.softmax(output)

  def scores_of(variables: Any, image: jax.Array, size: Size) -> jax.Array:
    """Scores [B,*size,C] of one variant of the image; probabilities if variants are averaged."""
    run = functools.partial(output_of, variables)
    if settings.window is None or settings.stride is None:
      output = run(image)
    else:
      output = windows.sliding_logits(run, image, settings.window, settings.stride)
    if settings.class_weights:
      return resized(probability_of(output) * weights, size)
    output = resized(output, size)
    return probability_of(output) if averages else output

  @functools.partial(jax.jit, static_argnames="size", out_shardings=mesh_lib.replicated(mesh))
  def predict(variables: Any, image: jax.Array, size: Size) -> tuple[jax.Array, jax.Array]:
    image = to_unit(image)
    total = jnp.float32(0)
    for scale in settings.scales:
      height, width = (int(side * scale + 0.5) for side in size_of(image))
      scaled = resize.bilinear(image, (height, width))
      total += scores_of(variables, scaled, size)
      if settings.flip:
        total += scores_of(variables, scaled[:, :, ::-1], size)[:, :, ::-1]
    probable = averages or settings.average == "probabilities" or bool(settings.class_weights)
    probability = total / jnp.sum(total, -1, keepdims=True) if probable else jax.nn.softmax(total)
    return jnp.argmax(total, -1).astype(jnp.uint8), jnp.max(probability, -1)

  def predict_rows(variables: Any, image: np.ndarray, size: Size) -> Prediction:
    size = (int(size[0]), int(size[1]))
    whole = lambda rows: predict(variables, rows, size)
    return Prediction(*mesh_lib.apply_to_rows(mesh, whole, image))

  return predict_rows
