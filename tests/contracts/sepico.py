"""Toy inputs of SePiCo's kernels and state updates."""

import jax
import jax.numpy as jnp
from contracts import generic
from contracts.kernel import Kernel, Update

from jax_uda import losses, memory
from jax_uda.memory import class_statistics, ring_bank

X, Y, W, P = generic.X, generic.Y, generic.W, generic.P
V = jax.random.uniform(jax.random.key(3), (3, 5))
BANK = jax.random.normal(jax.random.key(4), (3, 4, 5))
BAD_P = ({"prototypes": P[:, :4]}, r"prototypes has shape \(3, 4\), but embeddings ask for")


def _labelled(name, loss, tables, bad=()) -> Kernel:
  return Kernel(
    name=name,
    loss=loss,
    inputs={"embeddings": X, "labels": Y, "weights": W, **tables},
    trains=("embeddings",),
    constants=("weights", *tables),
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": generic.IGNORED},
    ignored={"labels": Y.at[0].set(255)},
    bad=(*generic.BAD_LABELLED, *bad),
  )


KERNELS = [
  _labelled(
    "prototype_cross_entropy",
    lambda prototypes, temperature=0.3, **pixels: losses.prototype_cross_entropy(
      prototypes=prototypes, temperature=temperature, **pixels
    ),
    {"prototypes": P},
    (BAD_P, ({"temperature": 0.0}, "temperature = 0.0; expected a number above 0")),
  ),
  _labelled(
    "prototype_cross_entropy_normalized_seen",
    lambda prototypes, **pixels: losses.prototype_cross_entropy(
      prototypes=prototypes,
      temperature=0.3,
      normalize=True,
      seen=jnp.array([True, False, True]),
      **pixels,
    ),
    {"prototypes": P},
  ),
  _labelled(
    "distribution_cross_entropy",
    lambda mean, variance, **pixels: losses.distribution_cross_entropy(
      mean=mean, variance=variance, temperature=0.8, **pixels
    ),
    {"mean": P, "variance": V},
    (({"variance": V[:2]}, r"variance has shape \(2, 5\)"),),
  ),
  _labelled(
    "bank_cross_entropy",
    lambda bank, **pixels: losses.bank_cross_entropy(
      bank=bank, length=jnp.array([4, 0, 2]), temperature=0.8, block=4, **pixels
    ),
    {"bank": BANK},
    (({"bank": P}, r"bank has shape \(3, 5\), but embeddings ask for \[C, L, 5\]"),),
  ),
  _labelled(
    "mean_similarity_regularizer",
    lambda prototypes, sign=1, **pixels: losses.mean_similarity_regularizer(
      prototypes=prototypes, temperature=0.3, sign=sign, **pixels
    ),
    {"prototypes": P},
    (BAD_P, ({"sign": 2}, "sign = 2; expected 1 or -1")),
  ),
]

UPDATES = [
  Update(
    name="class_statistics",
    update=class_statistics.update,
    state=class_statistics.ClassStatistics(P, V, jnp.array([3.0, 0.0, 5.0])),
    inputs={"embeddings": X, "labels": Y, "weights": W},
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": generic.IGNORED},
    bad=(({"embeddings": X[:, :4]}, r"embeddings has shape \(16, 4\)"),),
  ),
  Update(
    name="class_statistics_ema",
    update=lambda state, **inputs: class_statistics.update(state, **inputs, ema_decay=0.9),
    state=memory.empty_class_statistics(3, 5),
    inputs={"embeddings": X, "labels": Y, "weights": W},
    pixels=("embeddings", "labels", "weights"),
    empty={"labels": generic.IGNORED},
  ),
  Update(
    name="ring_bank",
    update=ring_bank.push,
    state=ring_bank.RingBank(BANK, jnp.array([4, 0, 7], jnp.int32)),
    inputs={"entries": P, "present": jnp.array([True, True, False])},
    empty={"present": jnp.zeros(3, bool)},
    bad=(
      ({"entries": P[:2]}, r"entries has shape \(2, 5\)"),
      ({"present": jnp.ones(3, jnp.int32)}, "present has dtype int32"),
    ),
  ),
]
