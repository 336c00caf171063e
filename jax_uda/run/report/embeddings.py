"""Embeddings of validation pixels, for projections to the plane."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.data.pipeline import batches
from jax_uda.ops import pixels, resize
from jax_uda.run import experiment
from jax_uda.run.report import views
from jax_uda.step.state import TrainState

HEADS = ("projection", "region")  # heads whose output is an embedding; else it is the fused map
IMAGES, PIXELS = 32, 256  # of each domain; pixels of each image, from which some are chosen
PER_CLASS = 60  # pixels of each class and domain

Sample = dict[str, np.ndarray]


def sample(exp: experiment.Experiment, state: TrainState) -> Sample:
  """The student's embeddings of some validation pixels of both domains, in evaluation mode.

  Pixels are chosen evenly by class: of the source's labels, of the target's *predictions*.

  Returns:
    `embedding` [N,A] float32 of unit norm, `prediction` and `label` [N] uint8 (255 = ignore; the
    target's for the eye only), `target` [N] bool.
  """
  parts, embed = [], _embed(exp)
  for is_target, images in ((False, exp.domains.source_val), (True, exp.domains.target_val)):
    chosen = views.pick(images, min(IMAGES, len(images)))
    found = [
      _of_batch(exp, functools.partial(embed, state.student), batch)
      for batch in batches.evaluation_batches(chosen, exp.config.eval.batch_size)
    ]
    found = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    rows = _evenly(found["prediction" if is_target else "label"], exp.task.num_classes)
    part = {name: values[rows] for name, values in found.items()}
    parts.append(part | {"target": np.full(len(rows), is_target)})
  return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _of_batch(exp: experiment.Experiment, embed: Callable, batch: Any) -> Sample:
  embedding, prediction = mesh_lib.apply_to_rows(exp.mesh, embed, batch["image"])
  height, width = prediction.shape[1:]
  rows, columns = (
    ((np.arange(cells) + 0.5) * side / cells).astype(int)  # the label at the middle of each cell
    for cells, side in zip((height, width), batch["label"].shape[1:], strict=True)
  )
  label = batch["label"][:, rows[:, None], columns]
  places = np.random.default_rng(0).permutation(height * width)[:PIXELS]

  def join(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), height * width, *x.shape[3:])
    return flat[:, places].reshape(-1, *x.shape[3:])

  return dict(embedding=join(embedding), prediction=join(prediction), label=join(label))


def _embed(exp: experiment.Experiment):
  """`(variables, image) -> (embedding [B,h,w,A], prediction [B,h,w])`."""

  @functools.partial(jax.jit, out_shardings=mesh_lib.replicated(exp.mesh))
  def embed(variables: Any, image: jax.Array):
    outputs = exp.model.apply(
      variables, pixels.to_unit(image), train=False, use_running_average=True
    )
    heads = [outputs.heads[name] for name in HEADS if name in outputs.heads]
    embedding = (heads or [outputs.fused])[0].astype(jnp.float32)
    embedding /= jnp.maximum(jnp.linalg.norm(embedding, axis=-1, keepdims=True), 1e-12)
    logits = resize.bilinear(outputs.logits, embedding.shape[1:3])
    return embedding, jnp.argmax(logits, -1).astype(jnp.uint8)

  return embed


def _evenly(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Indices of up to `PER_CLASS` pixels of each class."""
  rng = np.random.default_rng(0)
  places = [rng.permutation(np.flatnonzero(labels == c))[:PER_CLASS] for c in range(num_classes)]
  return np.concatenate(places)


def save(path: pathlib.Path, found: Sample) -> None:
  """Writes a sample as .npz."""
  np.savez_compressed(path, **found | {"embedding": found["embedding"].astype(np.float16)})


def load(path: pathlib.Path) -> Sample:
  """Reads a sample."""
  with np.load(path) as arrays:
    found = dict(arrays)
  return found | {"embedding": found["embedding"].astype(np.float32)}


def to_plane(embedding: np.ndarray, how: str) -> np.ndarray:
  """[N,A] -> [N,2] by the first two principal components ("pca") or by "tsne".

  Raises:
    ImportError: t-SNE without scikit-learn.
  """
  centred = embedding - embedding.mean(0)
  _, _, axes = np.linalg.svd(centred, full_matrices=False)
  flat = centred @ axes[:2].T
  if how == "pca":
    return flat
  try:
    from sklearn import manifold
  except ImportError:
    raise ImportError("config.projection = 'tsne' needs scikit-learn; use 'pca'") from None
  start = 1e-4 * flat / max(flat[:, 0].std(), 1e-12)
  perplexity = min(30.0, (len(flat) - 1) / 3)
  return manifold.TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(embedding)
