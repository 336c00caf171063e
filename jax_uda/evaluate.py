"""Evaluation of a network on a labelled set of images."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda import mesh as mesh_lib
from jax_uda import metrics, resize, sliding
from jax_uda.methods.base import Task, standardise
from jax_uda.models.segmentor import Segmentor

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
) -> Predict:
  """Returns `predict(variables, image uint8 [B,H,W,3], size) -> label uint8 [B, *size]`.

  The network runs in evaluation mode on the whole image or, if `window` is given, on windows of that
  (height, width) whose outputs are averaged before they are resized to `size` (DAFormer, HRDA).

  Args:
    model: The network.
    task: Its classes and standardisation.
    mesh: Devices that share a batch.
    window: (height, width) of the sliding window; empty: the whole image.
    stride: (height, width) between windows.
    flip: Also mirrored; the probabilities of all variants are averaged at `size`.
    scales: Factors of the image's size, likewise.
    average: What is averaged over windows and resized: logits, or probabilities (VFM-UDA).
  """
  check_settings(window=window, stride=stride, scales=scales, average=average)
  several = flip or len(scales) > 1

  @functools.partial(jax.jit, static_argnames="size", out_shardings=mesh_lib.replicated(mesh))
  def predict(variables: Any, image: jax.Array, size: tuple[int, int]) -> jax.Array:
    logits_of = lambda crop: resize.bilinear(
      model.apply(variables, crop, train=False, use_running_average=True).logits, crop.shape[1:3]
    )
    output_of = logits_of
    if average == "probabilities":
      output_of = lambda crop: jax.nn.softmax(logits_of(crop))

    def scores_of(image: jax.Array) -> jax.Array:
      found = (
        sliding.sliding_logits(output_of, image, tuple(window), tuple(stride))
        if window
        else output_of(image)
      )
      found = resize.bilinear(found, size)
      return jax.nn.softmax(found) if several and average == "logits" else found

    image = standardise(image, task)
    total = 0.0
    for scale in scales:
      height, width = (int(side * scale + 0.5) for side in image.shape[1:3])
      scaled = resize.bilinear(image, (height, width))
      total += scores_of(scaled)
      if flip:
        total += scores_of(scaled[:, :, ::-1])[:, :, ::-1]
    return jnp.argmax(total, -1).astype(jnp.uint8)

  def pad_and_predict(variables: Any, image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    missing = -len(image) % mesh.size
    padded = np.concatenate([image, np.repeat(image[-1:], missing, 0)]) if missing else image
    return np.asarray(predict(variables, mesh_lib.put_batch(mesh, padded), size))[: len(image)]

  return pad_and_predict


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
