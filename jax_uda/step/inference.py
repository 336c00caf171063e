"""Prediction with a network: windows, flips, scales, and what is averaged over them."""

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.common.registry import SettingError
from jax_uda.ops import resize, windows
from jax_uda.step.outputs import Outputs

Size = tuple[int, int]


class Prediction(NamedTuple):
  """The classes of pixels.

  Attributes:
    labels: [B, h, w] uint8 train ids.
    confidence: [B, h, w] float32 in [0, 1], the probability of that class.
  """

  labels: np.ndarray
  confidence: np.ndarray


# (variables, images uint8 [B,H,W,3], size) -> the classes of the pixels [B, *size]
Predict = Callable[[Mapping[str, Any], np.ndarray, Size], Prediction]


@dataclasses.dataclass(frozen=True)
class Inference:
  """How a network predicts.

  Attributes:
    window: (height, width) of the sliding window whose outputs are averaged (DAFormer, HRDA); None: the
      network runs on whole images.
    stride: (height, width) between windows.
    flip: Also runs on the mirrored image; probabilities of all variants are averaged.
    scales: Factors of the image's size; probabilities of all variants are averaged.
    average: What is averaged over windows and resized: logits, or probabilities (VFM-UDA).
    align_corners: How the network's output is resized (SPCL, RCCR); images are resized without.
    class_weights: [C] factors that multiply the probabilities at the network's input size; what is then
      resized are these products (SePiCo; golden `sepico/dark_class_weight`). None: no factors.

  Raises:
    SettingError: A field cannot be used.
  """

  window: Size | None = None
  stride: Size | None = None
  flip: bool = False
  scales: tuple[float, ...] = (1.0,)
  average: Literal["logits", "probabilities"] = "logits"
  align_corners: bool = False
  class_weights: tuple[float, ...] | None = None

  def __post_init__(self) -> None:
    """Checks the fields."""
    if (self.window is None) != (self.stride is None):
      raise SettingError(
        "window", f"= {self.window} and stride = {self.stride} must both be (height, width), or both None."
      )
    if not self.scales or min(self.scales) <= 0:
      raise SettingError("scales", f"= {self.scales} must be factors above 0, e.g. (0.75, 1.0).")
    if self.average not in ("logits", "probabilities"):
      raise SettingError("average", f"= {self.average!r} must be 'logits' or 'probabilities'.")

  def check_classes(self, num_classes: int) -> None:
    """Raises SettingError unless `class_weights` is None or has a factor above 0 per class."""
    weights = self.class_weights
    if weights is not None and (len(weights) != num_classes or min(weights) <= 0):
      raise SettingError(
        "class_weights",
        f"= {weights} must be {num_classes} factors above 0, one for each class, or empty.",
      )


def forward(
  model: Any,
  variables: Mapping[str, Any],
  image: jax.Array,
  *,
  outputs: Collection[str] | None = None,
) -> Outputs:
  """The outputs of a network in evaluation mode for uint8 RGB [B,H,W,3]; to be called under `jit`."""
  if not jnp.issubdtype(image.dtype, jnp.floating):
    mean, std = jnp.array(model.image_mean), jnp.array(model.image_std)
    image = (image.astype(jnp.float32) - mean) / std
  return model.apply(variables, image, train=False, use_running_average=True, parts=outputs)


def make_predict(model: Any, mesh: Mesh, inference: Inference) -> Predict:
  """Returns `predict(variables, images, size)`; the devices of `mesh` share the images."""
  weights = inference.class_weights
  several = inference.flip or len(inference.scales) > 1 or weights is not None
  resized = functools.partial(resize.bilinear, align_corners=inference.align_corners)
  logits_averaged = inference.average == "logits"

  @functools.partial(jax.jit, static_argnames="size", out_shardings=mesh_lib.replicated(mesh))
  def run(variables: Any, image: jax.Array, size: Size) -> Prediction:
    def output_of(crop: jax.Array) -> jax.Array:
      logits = resized(forward(model, variables, crop, outputs=("decoder",)).logits, crop.shape[1:3])
      return logits if logits_averaged else jax.nn.softmax(logits)

    def scores_of(image: jax.Array) -> jax.Array:
      if inference.window:
        output = windows.sliding_logits(output_of, image, inference.window, inference.stride)
      else:
        output = output_of(image)
      probabilities = jax.nn.softmax if logits_averaged else lambda x: x
      if weights is not None:
        return resized(probabilities(output) * jnp.asarray(weights, jnp.float32), size)
      output = resized(output, size)
      return probabilities(output) if several else output

    mean, std = jnp.array(model.image_mean), jnp.array(model.image_std)
    image = (image.astype(jnp.float32) - mean) / std
    total: Any = 0.0
    for scale in inference.scales:
      height, width = (int(side * scale + 0.5) for side in image.shape[1:3])
      scaled = resize.bilinear(image, (height, width))
      total += scores_of(scaled)
      if inference.flip:
        total += scores_of(scaled[:, :, ::-1])[:, :, ::-1]
    share = total / jnp.sum(total, -1, keepdims=True)
    probability = jax.nn.softmax(total) if logits_averaged and not several else share
    labels = jnp.argmax(total, -1).astype(jnp.uint8)
    return Prediction(labels, jnp.max(probability, -1))

  def predict(variables: Mapping[str, Any], images: np.ndarray, size: Size) -> Prediction:
    return mesh_lib.apply_to_rows(mesh, lambda rows: run(variables, rows, tuple(size)), images)

  return predict
