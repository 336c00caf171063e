"""Toy inputs of the losses that no one method owns, and of cross-entropy and prototype contrast."""

import jax
import jax.numpy as jnp
from contracts.kernel import Kernel

from jax_uda import losses

KEYS = jax.random.split(jax.random.key(7), 4)
X = jax.random.normal(KEYS[0], (16, 5))
Y = jnp.array([0, 1, 2, 0, 1, 2, 255, 0, 1, 0, 2, 2, 1, 0, 0, 255])
W = jax.random.uniform(KEYS[1], (16,), minval=0.2)
P = jax.random.normal(KEYS[2], (3, 5))
IGNORED = jnp.full(16, 255)
LABELLED = dict(embeddings=X, labels=Y, weights=W)

BAD_LABELLED = (
  ({"labels": Y[:8]}, r"labels has shape \(8,\), but embeddings ask for \(16,\)"),
  ({"labels": Y.astype(jnp.float32)}, "labels has dtype float32"),
  ({"weights": W[:8]}, r"weights has shape \(8,\)"),
  ({"embeddings": Y}, "embeddings has dtype int32"),
)


def _labelled(name, loss, *, constants=(), bad=(), **more) -> Kernel:
  """A kernel of embeddings, labels and weights, and what more it takes."""
  return Kernel(
    name=name,
    loss=loss,
    inputs={**LABELLED, **more},
    trains=("embeddings",),
    constants=("weights", *constants),
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(*BAD_LABELLED, *bad),
  )


def _info_nce(embeddings, labels, weights, denominator="negatives"):
  return losses.info_nce(
    embeddings,
    labels,
    embeddings,
    labels,
    temperature=0.5,
    anchor_weights=weights,
    contrast_weights=weights,
    denominator=denominator,
    exclude_diagonal=True,
    chunk=6,
  )


KERNELS = [
  _labelled(
    "centroid_cross_entropy",
    lambda embeddings, labels, weights, prototypes: losses.centroid_cross_entropy(
      embeddings, labels, prototypes, temperature=0.3, weights=weights
    ),
    constants=("prototypes",),
    prototypes=P,
    bad=(({"prototypes": P[:, :4]}, r"prototypes has shape \(3, 4\)"),),
  ),
  Kernel(
    name="info_nce",
    loss=_info_nce,
    inputs=LABELLED,
    trains=("embeddings",),
    constants=("weights",),
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(
      ({"labels": Y[:8]}, r"anchor_labels has shape \(8,\), but anchors ask for \(16,\)"),
      ({"weights": W[:8]}, r"anchor_weights has shape \(8,\)"),
      ({"denominator": "none"}, "denominator = 'none'"),
    ),
  ),
  Kernel(
    name="info_nce_all",
    loss=lambda **inputs: _info_nce(**inputs, denominator="all"),
    inputs=LABELLED,
    trains=("embeddings",),
    constants=("weights",),
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
  ),
  Kernel(
    name="supervised_pixel_contrast",
    loss=lambda embeddings, labels: losses.supervised_pixel_contrast(
      embeddings, labels, jax.random.key(0), num_classes=3, anchors_per_class=16
    ),
    inputs=dict(embeddings=X, labels=Y),
    trains=("embeddings",),
    pixels=("embeddings", "labels"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(({"labels": Y[:8]}, "labels has shape"),),
  ),
  Kernel(
    name="entropy",
    loss=losses.entropy,
    inputs=dict(logits=X, weights=W),
    trains=("logits",),
    constants=("weights",),
    pixels=("logits", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    bad=(({"weights": W[:8]}, "weights has shape"), ({"logits": Y}, "logits has dtype int32")),
  ),
  Kernel(
    name="kl_consistency",
    loss=lambda **inputs: losses.kl_consistency(**inputs, temperature=2.0),
    inputs=dict(logits=X, teacher_logits=X[::-1], weights=W),
    trains=("logits",),
    constants=("teacher_logits", "weights"),
    pixels=("logits", "teacher_logits", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"weights": W.at[0].set(0.0)},
    bad=(({"teacher_logits": X[:8]}, "teacher_logits has shape"),),
  ),
  Kernel(
    name="weighted_cross_entropy",
    loss=lambda logits, labels, weights: losses.weighted_cross_entropy(logits, labels, weights),
    inputs=dict(logits=X, labels=Y, weights=W),
    trains=("logits",),
    constants=("weights",),
    pixels=("logits", "labels", "weights"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(({"labels": Y[:8]}, "labels has shape"),),
  ),
]
UPDATES = []
