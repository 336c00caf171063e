"""Toy inputs of SPCL's kernels and state updates."""

import functools

import jax
import jax.numpy as jnp
from contracts import generic
from contracts.kernel import Kernel, Update

from jax_uda import losses
from jax_uda.losses import _adversarial
from jax_uda.memory import prototypes

X, Y, W, P = generic.X, generic.Y, generic.W, generic.P
D_SOURCE, D_TARGET = jax.random.normal(jax.random.key(5), (2, 16, 2, 3, 1))
IMAGES = jax.random.normal(jax.random.key(6), (16, 2, 2, 5))
LABELS = jnp.stack([Y, Y, Y[::-1], jnp.full(16, 255)], -1).reshape(16, 2, 2)
MEANS, COUNTS = -2 * P, jnp.array([4.0, 0.0, 1.0])

KERNELS = [
  Kernel(
    name="weighted_cross_entropy_valid",
    loss=lambda denominator="valid", **inputs: losses.weighted_cross_entropy(
      denominator=denominator, **inputs
    ),
    inputs=dict(logits=X, labels=Y, weights=W),
    trains=("logits",),
    constants=("weights",),
    pixels=("logits", "labels", "weights"),
    empty={"labels": generic.IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(({"denominator": "mean"}, "denominator = 'mean'; expected 'all' or 'valid'"),),
  ),
  Kernel(
    name="adversarial_generator_loss",
    loss=_adversarial.adversarial_generator_loss,
    inputs=dict(target_map=D_TARGET),
    trains=("target_map",),
    pixels=("target_map",),
    bad=(({"target_map": Y}, "target_map has dtype int32; expected a float dtype"),),
  ),
  Kernel(
    name="adversarial_discriminator_loss",
    loss=_adversarial.adversarial_discriminator_loss,
    inputs=dict(source_map=D_SOURCE, target_map=D_TARGET),
    trains=("source_map", "target_map"),
    pixels=("source_map", "target_map"),
    bad=(
      ({"source_map": Y}, "source_map has dtype int32; expected a float dtype"),
      ({"target_map": Y}, "target_map has dtype int32; expected a float dtype"),
    ),
  ),
]

BAD_MEANS = (
  ({"batch_means": MEANS[:2]}, r"batch_means has shape \(2, 5\), but prototypes ask for \(3, 5\)"),
  ({"batch_means": Y}, "batch_means has dtype int32"),
  ({"counts": COUNTS[:2]}, r"counts has shape \(2,\), but prototypes ask for \(3,\)"),
  ({"decay": 1.5}, r"decay = 1.5; expected a number in \[0, 1\]"),
)


def _update(state, batch_means, counts, decay=0.1, keep_absent=True):
  return prototypes.update(state, batch_means, counts, decay=decay, keep_absent=keep_absent)


UPDATES = [
  Update(
    name="prototypes",
    update=_update,
    state=P,
    inputs=dict(batch_means=MEANS, counts=COUNTS),
    empty={"counts": jnp.zeros(3)},
    bad=BAD_MEANS,
  ),
  Update(
    name="prototypes_decay_absent",
    update=functools.partial(_update, keep_absent=False),
    state=P,
    inputs=dict(batch_means=MEANS, counts=COUNTS),
  ),
  Update(
    name="prototype_sums",
    update=prototypes.add_images,
    state=prototypes.PrototypeSums(P, jnp.array([3, 0, 5], jnp.int32)),
    inputs=dict(embeddings=IMAGES, labels=LABELS),
    pixels=("embeddings", "labels"),
    empty={"labels": jnp.full((16, 2, 2), 255)},
    bad=(
      ({"embeddings": IMAGES[..., :4]}, r"embeddings has shape \(16, 2, 2, 4\), but sums ask for"),
      ({"embeddings": X[0], "labels": Y[0]}, r"embeddings has shape \(5,\)"),
      ({"labels": Y}, r"labels has shape \(16,\), but embeddings ask for \(16, 2, 2\)"),
    ),
  ),
]
