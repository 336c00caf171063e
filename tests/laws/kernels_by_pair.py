"""Toy inputs of the losses that compare pixels, regions or patches with each other."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from laws.kernels import (
  IGNORED,
  Kernel,
  W,
  X,
  Y,
  labelled,
  mean_over_labelled,
  plain_mean,
)

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(11), 8)
# Maps of eight images of one row of three pixels.
SHAPE = (8, 1, 3)
MAPS = dict(
  embeddings=jax.random.normal(KEYS[0], (*SHAPE, 5)),
  labels=jax.random.randint(KEYS[1], SHAPE, 0, 4).at[2, 0, 1].set(255),
  weights=jax.random.uniform(KEYS[2], SHAPE, minval=0.2),
)
MULTIRES = dict(
  MAPS,
  hr_embeddings=jax.random.normal(KEYS[3], (*SHAPE, 5)),
  attention=jax.random.uniform(KEYS[4], SHAPE),
  hr_mask=jax.random.bernoulli(KEYS[5], 0.7, SHAPE),
)
# Eight images of two by two low-resolution pixels.
GRID = dict(
  low=jax.random.normal(KEYS[6], (8, 2, 2, 3)),
  high=jax.random.normal(KEYS[7], (8, 2, 2, 3)),
  attention_logits=MAPS["embeddings"][:, :, :2, :2].reshape(8, 2, 2, 1),
  labels=jax.random.randint(KEYS[1], (8, 16, 16), 0, 3),
  boxes=jnp.tile(jnp.array([[0, 8, 8, 16], [8, 16, 0, 8]], jnp.int32), (4, 1)),
  weights=jax.random.uniform(KEYS[2], (8, 16, 16), minval=0.2),
)
PATCHES = dict(
  queries=jax.random.normal(KEYS[0], (8, 6, 5)), keys=jax.random.normal(KEYS[3], (8, 6, 5))
)
ROWS = jax.random.normal(KEYS[4], (12, 5))
ROW_LABELS = jnp.array([0, 1, 2, 255, 0, 1, 2, 2, 1, 0, 0, 1])
BAD_REDUCTION = ({"reduction": "sum"}, "reduction = 'sum'; expected 'mean' or 'none'")


def _info_nce(embeddings, labels, weights, **options):
  return losses.info_nce(
    embeddings,
    labels,
    embeddings,
    labels,
    temperature=0.5,
    anchor_weights=weights,
    contrast_weights=weights,
    exclude_diagonal=True,
    block=6,
    **options,
  )


def _mean_over_used(values, inputs):
  """The mean over pixels whose label is not 255."""
  return jnp.sum(values) / jnp.maximum(jnp.sum(inputs["labels"] != 255), 1)


def _maps(of, loss, inputs, trains, bad) -> Kernel:
  maps, labels, weights = inputs["embeddings"], inputs["labels"], inputs["weights"]
  flat = {"embeddings": maps[:, 0], "labels": labels[:, 0], "weights": weights[:, 0]}
  return Kernel(
    of=of,
    loss=lambda ignore_is_class=False, block=16, **inputs: loss(
      ignore_is_class=ignore_is_class, block=block, **inputs
    ),
    inputs=inputs,
    trains=trains,
    constants=("weights",),
    pixels=tuple(inputs),
    empty={"labels": jnp.full(SHAPE, 255)},
    ignored={"labels": labels.at[0].set(255)},
    mean_of=_mean_over_used,
    noise=tuple(name for name in trains if name.endswith("embeddings")),
    bad=(
      ({"labels": labels[:4]}, r"labels has shape \(4, 1, 3\), but embeddings ask for \(8, 1, 3\)"),
      ({"labels": weights}, "labels has dtype float32"),
      ({"weights": weights[:4]}, r"weights has shape \(4, 1, 3\)"),
      ({"embeddings": jnp.zeros((*SHAPE, 5), int)}, "embeddings has dtype int32"),
      ({"block": 0}, "block = 0; expected a number above 0"),
      ({"pixel_order": "random"}, "pixel_order = 'random'"),
      ({**flat, "pixel_order": "interleaved"}, r"needs maps \[B,h,w,A\]"),
      BAD_REDUCTION,
      *bad,
    ),
  )


def _multires(embeddings, hr_embeddings, attention, labels, hr_mask, weights, **options):
  maps = losses.FusedGrid(embeddings, hr_embeddings, attention, labels, hr_mask, weights)
  return losses.multires_pixel_contrast(maps, **options)


def _grid_loss(**maps):
  return losses.multires_pixel_contrast(losses.fused_grid(**maps, grid=(3, 3)), block=16)


def _region_contrast(
  anchors, positives, labels, queue_embeddings, queue_labels=ROW_LABELS, queue_valid=None, **options
):
  return losses.region_contrast(
    anchors,
    positives,
    labels,
    queue_embeddings,
    queue_labels,
    queue_valid=jnp.arange(12) < 10 if queue_valid is None else queue_valid,
    **{"temperature": 0.7, "first_rows": 6, "block": 4, **options},
  )


def _patch_nce(negatives, bad=()) -> Kernel:
  return Kernel(
    of="patch_nce",
    variant=negatives,
    loss=lambda negatives=negatives, temperature=0.5, **rows: losses.patch_nce(
      temperature=temperature, negatives=negatives, **rows
    ),
    inputs=PATCHES,
    trains=("queries",),
    constants=("keys",),
    pixels=("queries", "keys"),
    mean_of=plain_mean,
    bad=bad,
  )


KERNELS = [
  dataclasses.replace(
    labelled("info_nce", _info_nce),
    bad=(
      ({"labels": Y[:8]}, r"anchor_labels has shape \(8,\), but anchors ask for \(16,\)"),
      ({"weights": W[:8]}, r"anchor_weights has shape \(8,\)"),
      ({"denominator": "none"}, "denominator = 'none'"),
      BAD_REDUCTION,
    ),
  ),
  dataclasses.replace(
    labelled("info_nce", functools.partial(_info_nce, denominator="all"), variant="all"), bad=()
  ),
  Kernel(
    of="supervised_pixel_contrast",
    loss=lambda embeddings, labels: losses.supervised_pixel_contrast(
      embeddings, labels, jax.random.key(0), num_classes=3, anchors_per_class=16
    ),
    inputs=dict(embeddings=X, labels=Y),
    trains=("embeddings",),
    pixels=("embeddings", "labels"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    noise=("embeddings",),
    bad=(({"labels": Y[:8]}, "labels has shape"),),
  ),
  _maps("pixel_contrast", losses.pixel_contrast, MAPS, ("embeddings",), bad=()),
  _maps(
    "multires_pixel_contrast",
    _multires,
    MULTIRES,
    ("embeddings", "hr_embeddings", "attention"),
    bad=(
      (
        {"hr_embeddings": MULTIRES["hr_embeddings"][..., :4]},
        r"hr_embeddings has shape \(8, 1, 3, 4\)",
      ),
      ({"attention": MAPS["labels"]}, "attention has dtype int32"),
      ({"attention": MAPS["weights"][..., None]}, r"attention has shape \(8, 1, 3, 1\)"),
      ({"hr_mask": MAPS["labels"][:4]}, r"hr_mask has shape \(4, 1, 3\)"),
      ({"outside_crop_weight": 1.5}, "outside_crop_weight = 1.5; expected 0 to 1"),
    ),
  ),
  Kernel(
    of="fused_grid",
    loss=_grid_loss,
    inputs=GRID,
    trains=("low", "high", "attention_logits"),
    constants=("weights",),
    bad=(
      ({"low": GRID["low"][0]}, r"low has shape \(2, 2, 3\); expected at least 4 axes"),
      ({"low": GRID["labels"]}, "low has dtype int32"),
      (
        {"high": GRID["high"][..., :2]},
        r"high has shape \(8, 2, 2, 2\); expected \[8, ch, cw, 3\]",
      ),
      ({"high": jnp.zeros((8, 5, 2, 3))}, r"within \(4, 4\)"),
      ({"labels": GRID["labels"][:, :15]}, r"labels has shape \(8, 15, 16\); expected \[8, H, W\]"),
      ({"labels": GRID["weights"]}, "labels has dtype float32"),
      ({"boxes": GRID["boxes"][0]}, r"boxes has shape \(4,\), but low maps ask for \(8, 4\)"),
      ({"boxes": jnp.zeros((8, 4))}, "boxes has dtype float32"),
      (
        {"weights": MAPS["weights"]},
        r"weights has shape \(8, 1, 3\), but labels ask for \(8, 16, 16\)",
      ),
    ),
  ),
  Kernel(
    of="region_contrast",
    loss=_region_contrast,
    inputs={
      "anchors": X,
      "positives": jax.random.normal(KEYS[5], X.shape),
      "labels": Y,
      "weights": W,
      "queue_embeddings": ROWS,
    },
    trains=("anchors",),
    constants=("positives", "weights", "queue_embeddings"),
    pixels=("anchors", "positives", "labels", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"labels": Y.at[0].set(255)},
    mean_of=mean_over_labelled,
    bad=(
      ({"labels": Y[:8]}, r"labels has shape \(8,\)"),
      ({"positives": X[:8]}, r"positives has shape \(8, 5\), but anchors ask for \(16, 5\)"),
      ({"queue_embeddings": ROWS[:, :4]}, r"queue_embeddings has shape \(12, 4\)"),
      ({"queue_labels": ROW_LABELS[:3]}, r"queue_labels has shape \(3,\)"),
      ({"queue_labels": ROW_LABELS.astype(float)}, "queue_labels has dtype float"),
      ({"queue_valid": ROW_LABELS}, "queue_valid has dtype int32; expected bool"),
      ({"queue_valid": jnp.ones(3, bool)}, r"queue_valid has shape \(3,\)"),
      ({"epsilon": -1e-8}, "epsilon = -1e-08; expected 0 or more"),
      ({"temperature": -1.0}, "temperature = -1.0; expected a number above 0"),
      BAD_REDUCTION,
    ),
  ),
  _patch_nce(
    "image",
    bad=(
      ({"queries": X}, r"queries has shape \(16, 5\); expected at least 3 axes"),
      ({"queries": GRID["labels"]}, "queries has dtype int32"),
      ({"keys": PATCHES["keys"][:4]}, r"keys has shape \(4, 6, 5\), but queries ask for"),
      ({"keys": jnp.zeros((8, 6, 5), int)}, "keys has dtype int32"),
      ({"temperature": 0.0}, "temperature = 0.0; expected a number above 0"),
      ({"negatives": "all"}, "negatives = 'all'; expected 'image' or 'batch'"),
      BAD_REDUCTION,
    ),
  ),
  _patch_nce("batch"),
]
