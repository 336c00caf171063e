"""Toy inputs of CONFETI's kernels and state update."""

import jax
import jax.numpy as jnp
from contracts import generic
from contracts.kernel import Kernel, Update

from jax_uda import losses
from jax_uda.losses import _adversarial
from jax_uda.losses import _prototype_contrast as contrast
from jax_uda.memory import cam_prototypes
from jax_uda.ops import sampling

KEYS = jax.random.split(jax.random.key(13), 8)
X, Y, W, P = generic.X, generic.Y, generic.W, generic.P
UNIFORMS = jax.random.uniform(KEYS[0], (16,))
# Eight images of 2 x 3 cells and 4 x 6 pixels, three classes.
MAPS = jax.random.normal(KEYS[1], (8, 2, 3, 5))
CAM = jax.random.uniform(KEYS[2], (8, 2, 3, 3))
LABELS = jax.random.randint(KEYS[3], (8, 4, 6), 0, 3).at[0, :2].set(255)
SOURCE = jax.random.bernoulli(KEYS[4], 0.5, LABELS.shape)
PATCHES = dict(queries=MAPS.reshape(8, 6, 5), keys=jax.random.normal(KEYS[5], (8, 6, 5)))


def _sampled_contrast(embeddings, labels, uniforms, prototypes):
  weights = sampling.sample_valid(labels < 3, 6, uniforms=uniforms)
  return contrast.prototype_cross_entropy(
    embeddings, labels, prototypes, temperature=0.3, weights=weights, normalize=True
  )


def _patch_nce(negatives, bad=()) -> Kernel:
  return Kernel(
    name=f"patch_nce_{negatives}",
    loss=lambda negatives=negatives, temperature=0.5, **rows: losses.patch_nce(
      temperature=temperature, negatives=negatives, **rows
    ),
    inputs=PATCHES,
    trains=("queries",),
    constants=("keys",),
    pixels=("queries", "keys"),
    bad=bad,
  )


KERNELS = [
  Kernel(
    name="sampled_prototype_cross_entropy",
    loss=_sampled_contrast,
    inputs=dict(embeddings=X, labels=Y, uniforms=UNIFORMS, prototypes=P),
    trains=("embeddings",),
    constants=("uniforms", "prototypes"),
    pixels=("embeddings", "labels", "uniforms"),
    empty={"labels": generic.IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(
      ({"uniforms": UNIFORMS[:8]}, r"uniforms has shape \(8,\), but valid pixels ask for \(16,\)"),
      ({"uniforms": Y}, "uniforms has dtype int32"),
    ),
  ),
  Kernel(
    name="semantic_consistency",
    loss=losses.semantic_consistency,
    inputs=dict(embeddings=X, reference=X[::-1] + 1, prototypes=P, weights=W),
    trains=("embeddings",),
    constants=("reference", "prototypes", "weights"),
    pixels=("embeddings", "reference", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    bad=(
      ({"embeddings": Y}, "embeddings has dtype int32"),
      ({"reference": X[:8]}, r"reference has shape \(8, 5\), but embeddings ask for \(16, 5\)"),
      ({"reference": X.astype(int)}, "reference has dtype int32"),
      ({"prototypes": P[:, :4]}, r"prototypes has shape \(3, 4\)"),
      ({"weights": W[:8]}, r"weights has shape \(8,\)"),
    ),
  ),
  _patch_nce(
    "image",
    bad=(
      ({"queries": X}, r"queries has shape \(16, 5\); expected at least 3 axes"),
      ({"queries": LABELS}, "queries has dtype int32"),
      ({"keys": PATCHES["keys"][:4]}, r"keys has shape \(4, 6, 5\), but queries ask for"),
      ({"keys": jnp.zeros((8, 6, 5), int)}, "keys has dtype int32"),
      ({"temperature": 0.0}, "temperature = 0.0; expected a number above 0"),
      ({"negatives": "all"}, "negatives = 'all'; expected 'image' or 'batch'"),
    ),
  ),
  _patch_nce("batch"),
  Kernel(
    name="least_squares_generator_loss",
    loss=_adversarial.least_squares_generator_loss,
    inputs=dict(fake_map=MAPS),
    trains=("fake_map",),
    pixels=("fake_map",),
    bad=(({"fake_map": LABELS}, "fake_map has dtype int32"),),
  ),
  Kernel(
    name="least_squares_discriminator_loss",
    loss=_adversarial.least_squares_discriminator_loss,
    inputs=dict(fake_map=MAPS, real_map=CAM),
    trains=("fake_map", "real_map"),
    pixels=("fake_map", "real_map"),
    bad=(
      ({"fake_map": LABELS}, "fake_map has dtype int32"),
      ({"real_map": LABELS}, "real_map has dtype int32"),
    ),
  ),
  Kernel(
    name="image_class_cross_entropy",
    loss=losses.image_class_cross_entropy,
    inputs=dict(maps=MAPS, labels=LABELS),
    trains=("maps",),
    pixels=("maps", "labels"),
    bad=(
      ({"maps": P}, r"maps has shape \(3, 5\); expected at least 3 axes"),
      ({"maps": LABELS}, "maps has dtype int32"),
      ({"labels": CAM}, r"labels is float32\(8, 2, 3, 3\); expected integers"),
      ({"labels": LABELS[:4]}, r"labels has shape \(4, 4, 6\), but maps ask for \(8, 4, 6\)"),
    ),
  ),
]

INPUTS = dict(embeddings=MAPS, cam=CAM, labels=LABELS, source_mask=SOURCE)


def _update(name, bad=(), **options) -> Update:
  return Update(
    name=name,
    update=lambda state, **inputs: cam_prototypes.update(state, **{**options, **inputs}),
    state=cam_prototypes.CamPrototypes(jnp.eye(3, 5), jnp.array([4.0, 0.0, 7.0])),
    inputs=INPUTS,
    pixels=tuple(INPUTS),
    empty={"labels": jnp.full(LABELS.shape, 255)},
    bad=bad,
  )


UPDATES = [
  _update(
    "cam_prototypes",
    top_k=7,
    bad=(
      ({"embeddings": MAPS[..., :4]}, r"embeddings has shape \(8, 2, 3, 4\)"),
      ({"embeddings": LABELS}, "embeddings has dtype int32"),
      ({"cam": CAM[..., :2]}, r"cam has shape \(8, 2, 3, 2\), but embeddings and prototypes ask"),
      ({"labels": LABELS[:4]}, r"labels has shape \(4, 4, 6\), but embeddings ask for \(8, 4, 6\)"),
      ({"labels": LABELS[0, 0]}, r"labels has shape \(6,\); expected \[..., H, W\]"),
      ({"labels": LABELS.astype(jnp.float32)}, "labels has dtype float32"),
      ({"source_mask": SOURCE[:4]}, r"source_mask has shape \(4, 4, 6\)"),
      ({"momentum": 1.5}, "momentum = 1.5"),
      ({"top_k": 0}, "top_k = 0"),
      ({"proto_ema": "running"}, "proto_ema = 'running'"),
    ),
  ),
  _update("cam_prototypes_bias_corrected_lowres", proto_ema="bias_corrected", ori_size=False),
]
