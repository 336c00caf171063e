"""Evaluation of a network on a labelled set of images."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda import mesh as mesh_lib
from jax_uda import metrics, resize, sliding
from jax_uda.methods.base import Task, standardise
from jax_uda.models.segmentor import Segmentor

Predict = Callable[[Any, np.ndarray, tuple[int, int]], np.ndarray]


def make_predict(
  model: Segmentor,
  task: Task,
  mesh: Mesh,
  *,
  window: tuple[int, int] = (),
  stride: tuple[int, int] = (),
) -> Predict:
  """Returns `predict(variables, image uint8 [B,H,W,3], size) -> label uint8 [B, *size]`.

  The network runs in evaluation mode on the whole image or, if `window` is given, on windows of that
  (height, width) whose logits are averaged before they are resized to `size` (DAFormer, HRDA).
  """

  @functools.partial(jax.jit, static_argnames="size", out_shardings=mesh_lib.replicated(mesh))
  def predict(variables: Any, image: jax.Array, size: tuple[int, int]) -> jax.Array:
    logits_of = lambda crop: resize.bilinear(
      model.apply(variables, crop, train=False, use_running_average=True).logits, crop.shape[1:3]
    )
    image = standardise(image, task)
    if window:
      logits = sliding.sliding_logits(logits_of, image, tuple(window), tuple(stride))
    else:
      logits = logits_of(image)
    return jnp.argmax(resize.bilinear(logits, size), -1).astype(jnp.uint8)

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
