"""Toy inputs of the losses that compare pixels with one representation per class."""

import jax
import jax.numpy as jnp
from laws.kernels import IGNORED, Kernel, P, W, X, Y, labelled, mean_over_weights

from jax_uda import losses

VARIANCE = jax.random.uniform(jax.random.key(3), (3, 5))
BANK = jax.random.normal(jax.random.key(4), (3, 4, 5))
LENGTH = jnp.array([4, 0, 2])
UNIFORMS = jax.random.uniform(jax.random.split(jax.random.key(13), 8)[0], (16,))
SHARES = jax.nn.one_hot(Y, 3) * 0.7 + 0.1
SEEN = jnp.array([True, False, True])
BAD_P = ({"prototypes": P[:, :4]}, r"prototypes has shape \(3, 4\), but embeddings ask for")
BAD_REDUCTION = ({"reduction": "sum"}, "reduction = 'sum'; expected 'mean' or 'none'")


def _mean_over_classes(classes):
  """The mean over pixels of some classes only."""

  def mean_of(values, inputs):
    held = jnp.isin(inputs["labels"], jnp.array(classes))
    weights = jnp.where(held, inputs["weights"], 0.0)
    return jnp.sum(weights * values) / jnp.where(jnp.sum(weights) > 0, jnp.sum(weights), 1.0)

  return mean_of


def _prototype(temperature=0.3, **inputs):
  return losses.prototype_cross_entropy(temperature=temperature, **inputs)


def _sampled(embeddings, labels, uniforms, prototypes, reduction="mean"):
  weights = losses.sample_valid(labels < 3, 6, uniforms=uniforms)
  return losses.prototype_cross_entropy(
    embeddings,
    labels,
    prototypes,
    temperature=0.3,
    weights=weights,
    normalize=True,
    reduction=reduction,
  )


KERNELS = [
  labelled(
    "prototype_cross_entropy",
    _prototype,
    tables={"prototypes": P},
    bad=(
      BAD_P,
      BAD_REDUCTION,
      ({"temperature": 0.0}, "temperature = 0.0; expected a number above"),
    ),
  ),
  labelled(
    "prototype_cross_entropy",
    lambda **inputs: _prototype(normalize=True, class_mask=SEEN, **inputs),
    variant="normalized_seen",
    tables={"prototypes": P},
    mean_of=_mean_over_classes([0, 2]),
    noise=("embeddings",),
  ),
  Kernel(
    of="prototype_cross_entropy",
    variant="sampled",
    loss=_sampled,
    inputs=dict(embeddings=X, labels=Y, uniforms=UNIFORMS, prototypes=P),
    trains=("embeddings",),
    constants=("uniforms", "prototypes"),
    pixels=("embeddings", "labels", "uniforms"),
    empty={"labels": IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    mean_of=lambda values, _: jnp.sum(values) / 6,
    noise=("embeddings",),
    bad=(
      ({"uniforms": UNIFORMS[:8]}, r"uniforms has shape \(8,\), but valid pixels ask for \(16,\)"),
      ({"uniforms": Y}, "uniforms has dtype int32"),
    ),
  ),
  Kernel(
    of="soft_prototype_cross_entropy",
    loss=lambda **inputs: losses.soft_prototype_cross_entropy(
      temperature=0.3, normalize=True, **inputs
    ),
    inputs=dict(embeddings=X, soft_labels=SHARES, weights=W, prototypes=P),
    trains=("embeddings",),
    constants=("soft_labels", "weights", "prototypes"),
    pixels=("embeddings", "soft_labels", "weights"),
    empty={"soft_labels": jnp.zeros_like(SHARES)},
    ignored={"weights": W.at[0].set(0)},
    mean_of=mean_over_weights,
    noise=("embeddings",),
    bad=(
      ({"soft_labels": SHARES[:, :2]}, r"soft_labels has shape \(16, 2\), but embeddings ask for"),
      ({"soft_labels": jnp.zeros((16, 3), int)}, "soft_labels has dtype int32"),
      ({"weights": W[:8]}, r"weights has shape \(8,\)"),
      BAD_P,
      BAD_REDUCTION,
    ),
  ),
  labelled(
    "distribution_cross_entropy",
    lambda **inputs: losses.distribution_cross_entropy(temperature=0.8, **inputs),
    tables={"mean": P, "variance": VARIANCE},
    bad=(({"variance": VARIANCE[:2]}, r"variance has shape \(2, 5\)"), BAD_REDUCTION),
  ),
  labelled(
    "bank_cross_entropy",
    lambda **inputs: losses.bank_cross_entropy(length=LENGTH, temperature=0.8, block=4, **inputs),
    tables={"bank": BANK},
    mean_of=_mean_over_classes([0, 2]),
    bad=(
      ({"bank": P}, r"bank has shape \(3, 5\), but embeddings ask for \[C, L, 5\]"),
      BAD_REDUCTION,
    ),
  ),
  labelled(
    "centroid_cross_entropy",
    lambda **inputs: losses.centroid_cross_entropy(temperature=0.3, **inputs),
    tables={"prototypes": P},
    mean_of=lambda values, _: jnp.sum(values) / 3,  # the classes in the batch
    noise=("embeddings",),
    bad=(({"prototypes": P[:, :4]}, r"prototypes has shape \(3, 4\)"), BAD_REDUCTION),
  ),
  labelled(
    "mean_similarity_regularizer",
    lambda sign=1, **inputs: losses.mean_similarity_regularizer(
      temperature=0.3, sign=sign, **inputs
    ),
    tables={"prototypes": P},
    mean_of=None,
    bad=(BAD_P, ({"sign": 2}, "sign = 2; expected 1 or -1")),
  ),
  labelled(
    "mean_similarity_regularizer",
    lambda **inputs: losses.mean_similarity_regularizer(temperature=0.3, normalize=True, **inputs),
    variant="normalized",
    tables={"prototypes": P},
    mean_of=None,
    noise=("embeddings",),
  ),
]
