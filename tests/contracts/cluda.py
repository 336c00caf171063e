"""Toy inputs of CLUDA's kernels."""

import functools

import jax
import jax.numpy as jnp
from contracts.kernel import Kernel, Update

from jax_uda.losses import _pixel_contrast, _pixel_contrast_grid

KEYS = jax.random.split(jax.random.key(11), 8)
SHAPE = (8, 1, 3)
X = jax.random.normal(KEYS[0], (*SHAPE, 5))
Y = jax.random.randint(KEYS[1], SHAPE, 0, 4).at[2, 0, 1].set(255)
W = jax.random.uniform(KEYS[2], SHAPE, minval=0.2)
MAPS = dict(embeddings=X, labels=Y, weights=W)
MULTIRES = dict(
  MAPS,
  hr_embeddings=jax.random.normal(KEYS[3], X.shape),
  attention=jax.random.uniform(KEYS[4], SHAPE),
  hr_mask=jax.random.bernoulli(KEYS[5], 0.7, SHAPE),
)
BAD = (
  ({"labels": Y[:4]}, r"labels has shape \(4, 1, 3\), but embeddings ask for \(8, 1, 3\)"),
  ({"labels": W}, "labels has dtype float32"),
  ({"weights": W[:4]}, r"weights has shape \(4, 1, 3\)"),
  ({"embeddings": jnp.zeros((*SHAPE, 5), int)}, "embeddings has dtype int32"),
  ({"block": 0}, "block = 0; expected a number above 0"),
  ({"pixel_order": "random"}, "pixel_order = 'random'"),
  (
    {"embeddings": X[:, 0], "labels": Y[:, 0], "weights": W[:, 0], "pixel_order": "interleaved"},
    r"needs maps \[B,h,w,A\]",
  ),
)


def _maps(name, loss, inputs, trains, constants=("weights",), bad=()) -> Kernel:
  return Kernel(
    name=name,
    loss=functools.partial(loss, ignore_is_class=False, block=16),
    inputs=inputs,
    trains=trains,
    constants=constants,
    pixels=tuple(inputs),
    empty={"labels": jnp.full(SHAPE, 255)},
    ignored={"labels": Y.at[0].set(255)},
    bad=bad,
  )


def _grid_loss(low, high, attention_logits, labels, boxes, weights):
  grid = _pixel_contrast_grid.fused_grid(
    low, high, attention_logits, labels, boxes, weights=weights, grid=(3, 3)
  )
  return _pixel_contrast.multires_pixel_contrast(*grid[:-1], weights=grid.weights, block=16)


# A pixel axis of images, whose order matters to nobody; two by two low-resolution pixels each.
GRID = dict(
  low=jax.random.normal(KEYS[6], (8, 2, 2, 3)),
  high=jax.random.normal(KEYS[7], (8, 2, 2, 3)),
  attention_logits=X[:, :, :2, :2].reshape(8, 2, 2, 1),
  labels=jax.random.randint(KEYS[1], (8, 16, 16), 0, 3),
  boxes=jnp.tile(jnp.array([[0, 8, 8, 16], [8, 16, 0, 8]], jnp.int32), (4, 1)),
  weights=jax.random.uniform(KEYS[2], (8, 16, 16), minval=0.2),
)

KERNELS = [
  _maps("pixel_contrast", _pixel_contrast.pixel_contrast, MAPS, ("embeddings",), bad=BAD),
  _maps(
    "multires_pixel_contrast",
    _pixel_contrast.multires_pixel_contrast,
    MULTIRES,
    ("embeddings", "hr_embeddings", "attention"),
    bad=(
      *BAD[:-1],
      ({"hr_embeddings": X[..., :4]}, r"hr_embeddings has shape \(8, 1, 3, 4\)"),
      ({"attention": Y}, "attention has dtype int32"),
      ({"attention": W[..., None]}, r"attention has shape \(8, 1, 3, 1\)"),
      ({"hr_mask": Y[:4]}, r"hr_mask has shape \(4, 1, 3\)"),
      ({"outside_crop_weight": 1.5}, "outside_crop_weight = 1.5; expected 0 to 1"),
    ),
  ),
  Kernel(
    name="fused_grid",
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
      ({"weights": W}, r"weights has shape \(8, 1, 3\), but labels ask for \(8, 16, 16\)"),
    ),
  ),
]

UPDATES: list[Update] = []
