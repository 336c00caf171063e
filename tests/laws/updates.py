"""State updates with toy inputs."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from laws.kernels import IGNORED, P, W, X, Y

from jax_uda import memory
from jax_uda.memory import cam_prototypes, class_statistics, prototypes, region_queue, ring_bank


@dataclasses.dataclass(frozen=True, eq=False)
class Update:
  """A state update with toy inputs.

  Args:
    of: The functions that it stands for, as `module.function` of `jax_uda.memory`.
    update: Called as `update(state, **inputs)`; returns the next state.
    state: The state so far.
    inputs: Arrays by argument name.
    variant: What distinguishes it from the other updates of the same function.
    pixels: Inputs that share the pixel axis 0, a multiple of 8.
    empty: Inputs that replace some so that nothing is valid; None if that cannot happen.
    bad: (replacements, regular expression of the ValueError's message).
  """

  of: tuple[str, ...]
  update: Callable[..., Any]
  state: Any
  inputs: Mapping[str, Any]
  variant: str = ""
  pixels: tuple[str, ...] = ()
  empty: Mapping[str, Any] | None = None
  bad: tuple[tuple[Mapping[str, Any], str], ...] = ()

  @property
  def name(self) -> str:
    """The id of its tests."""
    return "_".join(filter(None, (self.of[0], self.variant)))


KEYS = jax.random.split(jax.random.key(13), 8)
PIXELS = {"embeddings": X, "labels": Y, "weights": W}
VARIANCE = jax.random.uniform(jax.random.key(3), (3, 5))
BANK = jax.random.normal(jax.random.key(4), (3, 4, 5))
# Images of 2 x 2 cells for the sums, of 2 x 3 cells and 4 x 6 pixels for the class activation maps.
IMAGES = jax.random.normal(jax.random.key(6), (16, 2, 2, 5))
IMAGE_LABELS = jnp.stack([Y, Y, Y[::-1], jnp.full(16, 255)], -1).reshape(16, 2, 2)
MAPS = jax.random.normal(KEYS[1], (8, 2, 3, 5))
CAM = jax.random.uniform(KEYS[2], (8, 2, 3, 3))
LABELS = jax.random.randint(KEYS[3], (8, 4, 6), 0, 3).at[0, :2].set(255)
SOURCE = jax.random.bernoulli(KEYS[4], 0.5, LABELS.shape)
MEANS, COUNTS = -2 * P, jnp.array([4.0, 0.0, 1.0])
ROWS = jax.random.normal(KEYS[5], (12, 5))
ROW_LABELS = jnp.array([0, 1, 2, 255, 0, 1, 2, 2, 1, 0, 0, 1])


def _prototypes(state, batch_means, counts, decay=0.1, keep_absent=True):
  return prototypes.update(state, batch_means, counts, decay=decay, keep_absent=keep_absent)


def _cam_prototypes(variant="", bad=(), **options) -> Update:
  inputs = dict(embeddings=MAPS, cam=CAM, labels=LABELS, source_mask=SOURCE)
  return Update(
    of=("cam_prototypes.update",),
    variant=variant,
    update=lambda state, **inputs: cam_prototypes.update(state, **{**options, **inputs}),
    state=cam_prototypes.CamPrototypes(jnp.eye(3, 5), jnp.array([4.0, 0.0, 7.0])),
    inputs=inputs,
    pixels=tuple(inputs),
    empty={"labels": jnp.full(LABELS.shape, 255)},
    bad=bad,
  )


UPDATES = [
  Update(
    of=("class_statistics.update", "class_statistics.merge"),
    update=class_statistics.update,
    state=class_statistics.ClassStatistics(P, VARIANCE, jnp.array([3.0, 0.0, 5.0])),
    inputs=PIXELS,
    pixels=tuple(PIXELS),
    empty={"labels": IGNORED},
    bad=(({"embeddings": X[:, :4]}, r"embeddings has shape \(16, 4\)"),),
  ),
  Update(
    of=("class_statistics.update",),
    variant="ema",
    update=lambda state, **inputs: class_statistics.update(state, **inputs, ema_decay=0.9),
    state=memory.empty_class_statistics(3, 5),
    inputs=PIXELS,
    pixels=tuple(PIXELS),
    empty={"labels": IGNORED},
  ),
  Update(
    of=("ring_bank.push",),
    update=ring_bank.push,
    state=ring_bank.RingBank(BANK, jnp.array([4, 0, 7], jnp.int32)),
    inputs={"entries": P, "present": jnp.array([True, True, False])},
    empty={"present": jnp.zeros(3, bool)},
    bad=(
      ({"entries": P[:2]}, r"entries has shape \(2, 5\)"),
      ({"present": jnp.ones(3, jnp.int32)}, "present has dtype int32"),
    ),
  ),
  Update(
    of=("prototypes.update",),
    update=_prototypes,
    state=P,
    inputs=dict(batch_means=MEANS, counts=COUNTS),
    empty={"counts": jnp.zeros(3)},
    bad=(
      (
        {"batch_means": MEANS[:2]},
        r"batch_means has shape \(2, 5\), but prototypes ask for \(3, 5\)",
      ),
      ({"batch_means": Y}, "batch_means has dtype int32"),
      ({"counts": COUNTS[:2]}, r"counts has shape \(2,\), but prototypes ask for \(3,\)"),
      ({"decay": 1.5}, r"decay = 1.5; expected a number in \[0, 1\]"),
    ),
  ),
  Update(
    of=("prototypes.update",),
    variant="decay_absent",
    update=functools.partial(_prototypes, keep_absent=False),
    state=P,
    inputs=dict(batch_means=MEANS, counts=COUNTS),
  ),
  Update(
    of=("prototypes.add_images",),
    update=prototypes.add_images,
    state=prototypes.PrototypeSums(P, jnp.array([3, 0, 5], jnp.int32)),
    inputs=dict(embeddings=IMAGES, labels=IMAGE_LABELS),
    pixels=("embeddings", "labels"),
    empty={"labels": jnp.full((16, 2, 2), 255)},
    bad=(
      ({"embeddings": IMAGES[..., :4]}, r"embeddings has shape \(16, 2, 2, 4\), but sums ask for"),
      ({"embeddings": X[0], "labels": Y[0]}, r"embeddings has shape \(5,\)"),
      ({"labels": Y}, r"labels has shape \(16,\), but embeddings ask for \(16, 2, 2\)"),
    ),
  ),
  Update(
    of=("region_queue.push",),
    update=region_queue.push,
    state=region_queue.empty_region_queue(3, 12, 5),
    inputs={"embeddings": ROWS, "labels": ROW_LABELS},
    bad=(
      ({"embeddings": ROWS[:4]}, r"embeddings has shape \(4, 5\)"),
      ({"labels": ROW_LABELS.astype(float)}, "labels has dtype float"),
    ),
  ),
  _cam_prototypes(
    top_k=7,
    bad=(
      ({"embeddings": MAPS[..., :4]}, r"embeddings has shape \(8, 2, 3, 4\)"),
      ({"embeddings": LABELS}, "embeddings has dtype int32"),
      ({"cam": CAM[..., :2]}, r"cam has shape \(8, 2, 3, 2\), but embeddings and prototypes ask"),
      ({"labels": LABELS[:4]}, r"labels has shape \(4, 4, 6\), but embeddings ask for \(8, 4, 6\)"),
      ({"labels": LABELS[0, 0]}, r"labels is int32\(6,\); expected integers \[..., H, W\]"),
      ({"labels": LABELS.astype(jnp.float32)}, r"labels is float32\(8, 4, 6\)"),
      ({"source_mask": SOURCE[:4]}, r"source_mask has shape \(4, 4, 6\)"),
      ({"momentum": 1.5}, "momentum = 1.5"),
      ({"top_k": 0}, "top_k = 0"),
      ({"proto_ema": "running"}, "proto_ema = 'running'"),
    ),
  ),
  _cam_prototypes("bias_corrected_lowres", proto_ema="bias_corrected", ori_size=False),
  _cam_prototypes("unaligned", proto_ema="bias_corrected", align_corners=False),
  Update(
    of=("cam_prototypes.update_by_means",),
    update=cam_prototypes.update_by_means,
    state=cam_prototypes.CamPrototypes(jnp.eye(3, 5), jnp.array([4.0, 0.0, 7.0])),
    inputs=dict(embeddings=MAPS, labels=LABELS),
    pixels=("embeddings", "labels"),
    empty={"labels": jnp.full(LABELS.shape, 255)},
    bad=(
      ({"embeddings": MAPS[..., :4]}, r"embeddings has shape \(8, 2, 3, 4\)"),
      ({"labels": LABELS[:4]}, r"labels has shape \(4, 4, 6\), but embeddings ask for \(8, 4, 6\)"),
      ({"momentum": 1.5}, "momentum = 1.5"),
    ),
  ),
]
