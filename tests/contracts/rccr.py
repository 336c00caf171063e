"""Toy inputs of RCCR's kernel and queue."""

import jax
import jax.numpy as jnp
from contracts import generic
from contracts.kernel import Kernel, Update

from jax_uda.losses._region_contrast import region_contrast
from jax_uda.memory import region_queue

X, Y, W = generic.X, generic.Y, generic.W
KEYS = jax.random.split(jax.random.key(13), 3)
ROWS = jax.random.normal(KEYS[0], (12, 5))
ROW_LABELS = jnp.array([0, 1, 2, 255, 0, 1, 2, 2, 1, 0, 0, 1])

KERNELS = [
  Kernel(
    name="region_contrast",
    loss=lambda anchors, positives, queue_embeddings, temperature=0.7, **inputs: region_contrast(
      anchors,
      positives,
      queue_embeddings=queue_embeddings,
      queue_labels=inputs.pop("queue_labels", ROW_LABELS),
      queue_valid=inputs.pop("queue_valid", jnp.arange(12) < 10),
      temperature=temperature,
      first_rows=6,
      block=4,
      **inputs,
    ),
    inputs={
      "anchors": X,
      "positives": jax.random.normal(KEYS[1], X.shape),
      "labels": Y,
      "weights": W,
      "queue_embeddings": ROWS,
    },
    trains=("anchors",),
    constants=("positives", "weights", "queue_embeddings"),
    pixels=("anchors", "positives", "labels", "weights"),
    empty={"weights": jnp.zeros(16)},
    ignored={"labels": Y.at[0].set(255)},
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
    ),
  ),
]

UPDATES = [
  Update(
    name="region_queue",
    update=region_queue.push,
    state=region_queue.empty_region_queue(3, 12, 5),
    inputs={"embeddings": ROWS, "labels": ROW_LABELS},
    bad=(
      ({"embeddings": ROWS[:4]}, r"embeddings has shape \(4, 5\)"),
      ({"labels": ROW_LABELS.astype(float)}, "labels has dtype float"),
    ),
  ),
]
