"""Embeddings of validation pixels, and their picture in the plane: by class and by domain."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.common import mesh as mesh_lib
from jax_uda.common import state_files
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.data.pipeline import batching
from jax_uda.data.pipeline.examples import Example
from jax_uda.ops import resize
from jax_uda.ops.pixels import to_unit
from jax_uda.run.evaluation import forward
from jax_uda.run.report import drawing
from jax_uda.step.learner import Learner

HEADS = (
  "projection",
  "region",
)  # heads whose output is an embedding; without them the fused map is
IMAGES, PIXELS = 32, 256  # images of each domain; pixels of each image, from which some are chosen
PER_CLASS = 60  # pixels of each class and domain

NAMES = {"pca": "PCA", "tsne": "t-SNE"}
SIZE, LEGEND, TITLES = 2.9, 0.75, 0.75  # inches: side of a plot; heights of legend and titles
SOURCE, TARGET = "#4477aa", "#ee6677"
COLUMNS = (
  "target, by predicted class",
  "target, by ground truth\n(evaluation only)",
  "both, by class (dots: source, label;\ncrosses: target, prediction)",
  "both domains",
)

# `embedding` [N,A] float32 of unit norm, `prediction` and `label` [N] uint8 (255 = ignore; labels of the
# target are for the eye only), `target` [N] bool.
Sample = dict[str, np.ndarray]
Embed = Callable[[jax.Array], tuple[jax.Array, jax.Array]]


def collect(
  learner: Learner,
  variables: Mapping[str, Any],
  source: Sequence[Example],
  target: Sequence[Example],
  *,
  num_classes: int,
  batch_size: int,
) -> Sample:
  """Embeddings of some pixels of both domains, by a network in evaluation mode.

  Pixels are chosen evenly by class: by the labels of the source and by the *predictions* on the target.

  Args:
    learner: The model, and the devices that share a batch.
    variables: Its variables.
    source: `image` and `label` of the source.
    target: `image` and `label` of the target.
    num_classes: C.
    batch_size: Images that are embedded together.
  """
  run = _make_embed(learner)
  embed = lambda images: run(variables, images)
  domains = []
  for examples, criterion in ((source, "label"), (target, "prediction")):
    pixels = _join(
      [
        _pixels_of(learner, embed, batch)
        for batch in batching.evaluation_batches(examples, batch_size)
      ]
    )
    rows = _evenly(pixels[criterion], num_classes)
    sample = {name: values[rows] for name, values in pixels.items()}
    domains.append(sample | {"target": np.full(len(rows), examples is target)})
  return _join(domains)


def save(path: pathlib.Path, sample: Sample) -> None:
  """Writes a sample as .npz, embeddings as float16."""
  arrays: dict[str, Any] = sample | {"embedding": sample["embedding"].astype(np.float16)}
  state_files.write_arrays(path, arrays)


def load(path: pathlib.Path) -> Sample:
  """Reads a sample; it is empty if the file is missing or damaged, which is said."""
  purpose = "the picture of the embeddings lacks those before training"
  sample = state_files.read_arrays(path, purpose)
  if not sample:
    return {}
  return sample | {"embedding": sample["embedding"].astype(np.float32)}


def to_plane(embedding: np.ndarray, projection: str) -> np.ndarray:
  """[N,A] -> [N,2] by the first two principal components ("pca") or by "tsne".

  Raises:
    ImportError: t-SNE without scikit-learn.
  """
  centered = embedding - embedding.mean(0)
  _, _, axes = np.linalg.svd(centered, full_matrices=False)
  flat = centered @ axes[:2].T
  if projection == "pca":
    return flat
  try:
    from sklearn import manifold  # pyright: ignore[reportMissingImports]
  except ImportError:
    raise ImportError("config.projection = 'tsne' needs scikit-learn; use 'pca'") from None
  start = 1e-4 * flat / max(flat[:, 0].std(), 1e-12)
  perplexity = min(30.0, (len(flat) - 1) / 3)
  return manifold.TSNE(init=start, perplexity=perplexity, random_state=0).fit_transform(embedding)


def draw(
  path: pathlib.Path,
  samples: Mapping[str, Sample],
  label_space: LabelSpace,
  *,
  projection: str,
  title: str,
) -> None:
  """Writes a PNG with one row per sample.

  Args:
    path: The PNG.
    samples: Samples by row title.
    label_space: Names and colors of the classes.
    projection: "pca" or "tsne".
    title: Text above.

  Raises:
    ImportError: matplotlib is not installed, or scikit-learn for t-SNE.
  """
  width, height = SIZE * len(COLUMNS), SIZE * len(samples) + LEGEND + TITLES
  page = drawing.load("matplotlib.figure").Figure(figsize=(width, height))
  text = f"{title}: embeddings of validation pixels, {NAMES[projection]}"
  page.text(0.1 / width, 1 - 0.08 / height, text, fontsize=11, weight="bold", va="top")
  axes = page.subplots(
    len(samples),
    len(COLUMNS),
    squeeze=False,
    subplot_kw=dict(xticks=[], yticks=[]),
    gridspec_kw=dict(
      left=0.3 / width,
      right=1 - 0.1 / width,
      top=1 - TITLES / height,
      bottom=LEGEND / height,
      wspace=0.04,
      hspace=0.04,
    ),
  )
  for row, (name, sample) in zip(axes, samples.items(), strict=True):
    row[0].set_ylabel(name, fontsize=9)
    _draw_row(row, to_plane(sample["embedding"], projection), sample, label_space)
  for axis, name in zip(axes[0], COLUMNS, strict=True):
    axis.set_title(name, fontsize=9, pad=4)
  dot = lambda color, name: drawing.load("matplotlib.lines").Line2D(
    [], [], marker="o", ls="", color=color, label=name
  )
  classes = zip(label_space.palette / 255, label_space.names, strict=True)
  handles = [dot(SOURCE, "source"), dot(TARGET, "target")]
  handles += [dot(color, name) for color, name in classes]
  page.legend(handles=handles, loc="lower left", ncols=10, fontsize=8, frameon=False)
  drawing.save(page, path)


def _make_embed(learner: Learner) -> Callable[[Any, jax.Array], tuple[jax.Array, jax.Array]]:
  """`(variables, images) -> (embedding [B,h,w,A], prediction [B,h,w])`."""

  def embed(variables: Any, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    outputs = forward(learner.model, variables, to_unit(images))
    heads = [outputs.heads[name] for name in HEADS if name in outputs.heads]
    embedding = (heads or [outputs.decoded.fused])[0].astype(jnp.float32)
    embedding /= jnp.maximum(jnp.linalg.norm(embedding, axis=-1, keepdims=True), 1e-12)
    height, width = embedding.shape[1:3]
    logits = resize.bilinear(outputs.decoded.logits, (height, width))
    return embedding, jnp.argmax(logits, -1).astype(jnp.uint8)

  return jax.jit(embed, out_shardings=mesh_lib.replicated(learner.mesh))


def _pixels_of(learner: Learner, embed: Embed, batch: Example) -> Sample:
  """Some pixels of each image of a batch, without `target`."""
  embedding, prediction = mesh_lib.apply_to_rows(learner.mesh, embed, batch["image"])
  height, width = prediction.shape[1:]
  rows, columns = (
    ((np.arange(cells) + 0.5) * side / cells).astype(int)  # the label at the middle of each cell
    for cells, side in zip((height, width), batch["label"].shape[1:], strict=True)
  )
  label = batch["label"][:, rows[:, None], columns]
  places = np.random.default_rng(0).permutation(height * width)[:PIXELS]

  def select(x: np.ndarray) -> np.ndarray:
    flat = x.reshape(len(x), height * width, *x.shape[3:])
    return flat[:, places].reshape(-1, *x.shape[3:])

  return dict(embedding=select(embedding), prediction=select(prediction), label=select(label))


def _join(samples: Sequence[Sample]) -> Sample:
  return {name: np.concatenate([sample[name] for sample in samples]) for name in samples[0]}


def _evenly(labels: np.ndarray, num_classes: int) -> np.ndarray:
  """Indices of up to `PER_CLASS` pixels per class."""
  rng = np.random.default_rng(0)
  places = [rng.permutation(np.flatnonzero(labels == c))[:PER_CLASS] for c in range(num_classes)]
  return np.concatenate(places)


def _draw_row(axes, plane: np.ndarray, sample: Sample, label_space: LabelSpace) -> None:
  """Draws one sample, at the points `plane` [N,2], into the four axes of a row."""
  target = sample["target"]
  x, y = plane.T
  table = np.full((256, 3), 0.85)  # pixels without a label
  table[: label_space.num_classes] = label_space.palette / 255
  shown = np.where(target, sample["prediction"], sample["label"])
  style = dict(s=7, lw=0, alpha=0.75)
  axes[0].scatter(x[target], y[target], c=table[sample["prediction"][target]], **style)
  axes[1].scatter(x[target], y[target], c=table[sample["label"][target]], **style)
  axes[2].scatter(x[~target], y[~target], c=table[shown[~target]], **style)
  axes[2].scatter(x[target], y[target], c=table[shown[target]], s=9, lw=0.8, marker="x")
  order = np.random.default_rng(0).permutation(len(x))  # neither domain covers the other
  colors = np.where(target, TARGET, SOURCE)
  axes[3].scatter(x[order], y[order], c=colors[order], **style)
  low, high = plane.min(0), plane.max(0)
  margin = 0.04 * (high - low) + 1e-9
  for axis in axes:
    axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
    axis.spines[:].set_color("0.8")
