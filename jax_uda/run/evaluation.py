"""Evaluation of a network on a labelled set of images."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib
from jax_uda.models.segmentor import Segmentor
from jax_uda.ops import pixels, resize, windows
from jax_uda.run import metrics
from jax_uda.step.method import Task

Predict = Callable[[Any, np.ndarray, tuple[int, int]], np.ndarray]


def check_settings(
  *,
  window: Sequence[int],
  stride: Sequence[int],
  scales: Sequence[float],
  average: str,
) -> None:
  """Raises ValueError for settings of `config.eval` that `make_predict` cannot use."""
  if len(window) not in (0, 2) or len(window) != len(stride):
    raise ValueError(
      f"config.eval.window = {window} and config.eval.stride = {stride} must both be "
      "(height, width), or both empty."
    )
  if not len(scales) or min(scales) <= 0:
    raise ValueError(f"config.eval.scales = {scales} must be factors above 0, e.g. (0.75, 1.0).")
  if average not in ("logits", "probabilities"):
    raise ValueError(f"config.eval.average = {average!r} must be 'logits' or 'probabilities'.")


def check_class_weights(weights: Sequence[float], num_classes: int) -> None:
  """Raises ValueError unless `config.eval.class_weights` is empty or has a factor above 0 for each class."""
  if len(weights) and (len(weights) != num_classes or min(weights) <= 0):
    raise ValueError(
      f"config.eval.class_weights = {tuple(weights)} must be {num_classes} factors above 0, one for "
      "each class, or empty."
    )


def make_predict(
  model: Segmentor,
  task: Task,
  mesh: Mesh,
  *,
  window: tuple[int, int] = (),
  stride: tuple[int, int] = (),
  flip: bool = False,
  scales: Sequence[float] = (1.0,),
  average: Literal["logits", "probabilities"] = "logits",
  align_corners: bool = False,
  class_weights: Sequence[float] = (),
) -> Predict:
  """Returns `predict(variables, image uint8 [B,H,W,3], size) -> label uint8 [B, *size]`.

  The network runs in evaluation mode on the whole image or, if `window` is given, on windows of that
  (height, width) whose outputs are averaged before they are resized to `size` (DAFormer, HRDA).

  Args:
    model: The network.
    task: Its classes.
    mesh: Devices that share a batch.
    window: (height, width) of the sliding window; empty: the whole image.
    stride: (height, width) between windows.
    flip: Also mirrored; the probabilities of all variants are averaged at `size`.
    scales: Factors of the image's size, likewise.
    average: What is averaged over windows and resized: logits, or probabilities (VFM-UDA).
    align_corners: Of every resizing of the network's output (SPCL, RCCR); images are resized without.
    class_weights: A factor for each class that multiplies the probabilities at the network's input
      size; what is then resized to `size` are these products (SePiCo; golden
      `sepico/dark_class_weight`). Empty: none.
  """
  check_settings(window=window, stride=stride, scales=scales, average=average)
  check_class_weights(class_weights, task.num_classes)
  several = flip or len(scales) > 1
  resized = functools.partial(resize.bilinear, align_corners=align_corners)
  probability_of = jax.nn.softmax if average == "logits" else lambda found: found

  @functools.partial(jax.jit, static_argnames="size", out_shardings=mesh_lib.replicated(mesh))
  def predict(variables: Any, image: jax.Array, size: tuple[int, int]) -> jax.Array:
    logits_of = lambda crop: resized(
      model.apply(variables, crop, train=False, use_running_average=True).logits, crop.shape[1:3]
    )
    output_of = logits_of
    if average == "probabilities":
      output_of = lambda crop: jax.nn.softmax(logits_of(crop))

    def scores_of(image: jax.Array) -> jax.Array:
      found = (
        windows.sliding_logits(output_of, image, tuple(window), tuple(stride))
        if window
        else output_of(image)
      )
      if class_weights:
        return resized(probability_of(found) * jnp.asarray(class_weights, jnp.float32), size)
      found = resized(found, size)
      return probability_of(found) if several else found

    image = pixels.to_unit(image)
    total = 0.0
    for scale in scales:
      height, width = (int(side * scale + 0.5) for side in image.shape[1:3])
      scaled = resize.bilinear(image, (height, width))
      total += scores_of(scaled)
      if flip:
        total += scores_of(scaled[:, :, ::-1])[:, :, ::-1]
    return jnp.argmax(total, -1).astype(jnp.uint8)

  def predict_rows(variables: Any, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return mesh_lib.apply_to_rows(mesh, lambda image: predict(variables, image, size), image)

  return predict_rows


def confusion_of(
  predict: Predict,
  variables: Any,
  batches: Iterable[Mapping[str, np.ndarray]],
  num_classes: int,
) -> np.ndarray:
  """[C, C] int64 pixel counts over all `batches` of `image` and `label`; rows are labels."""
  counts = np.zeros((num_classes, num_classes), np.int64)
  for batch in batches:
    prediction = predict(variables, batch["image"], batch["label"].shape[1:])
    counts += metrics.confusion(batch["label"], prediction, num_classes)
  return counts
