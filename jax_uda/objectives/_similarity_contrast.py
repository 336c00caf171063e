"""Student pixels classified by their similarity to one prototype per class (SPCL).

Prototypes are moving averages of L2-normalised features of source pixels that the student classifies
right; the features are the decoder's map before its classifier (`Outputs.fused`): DeepLabV2's is the
last map of the encoder.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.common.registry import SettingError
from jax_uda.memory import prototypes
from jax_uda.ops import arrays, labels, resize
from jax_uda.ops.labels import ignore_unweighted
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Context, View
from jax_uda.step.objective import Objective, Result, SourcePass, split_groups
from jax_uda.step.outputs import Outputs


class ClassPrototypes(NamedTuple):
  """Prototypes [G,C,A] float32 of G groups, and which classes [G,C] bool have one."""

  prototypes: jax.Array
  present: jax.Array


def correct_features(outputs: Outputs, view: View) -> tuple[jax.Array, jax.Array]:
  """Features [B,h,w,A], and labels [B,h,w] where the prediction agrees with the view's, else 255."""
  features, label = _labelled_features(outputs, view)
  logits = resize.bilinear(outputs.decoded.logits, size_of(features))
  return features, labels.correct_label(label, jax.lax.stop_gradient(logits))


def _labelled_features(outputs: Outputs, view: View) -> tuple[jax.Array, jax.Array]:
  """Features [B,h,w,A] and the view's labels [B,h,w]; 255 where a pixel weighs 0."""
  label, fused = ignore_unweighted(view.label, view.weight), outputs.decoded.fused
  return fused, labels.nearest_label(label, size_of(fused))


def similarity_contrast(
  *,
  num_classes: int,
  dim: int,
  source: str = "source",
  target: str = "target",
  groups: int = 1,
  decay: float = 0.1,
  keep_absent: bool = True,
  temperature: float = 100.0,
  weight: float = 1.0,
  start_step: int = 0,
  source_pass: bool = False,
) -> Objective[ClassPrototypes]:
  """Prototypes first, then the contrast of source and target with the prototypes just updated.

  A class without a prototype takes its first batch's mean whole, and is left out until then.

  Args:
    num_classes: C.
    dim: Channels of the decoder's map before its classifier, A.
    source: Labelled view; only pixels that the student classifies right count, here and below.
    target: The other view, with its labels; pixels of weight 0 are ignored.
    groups: Splits the batch into this many groups, each with its own prototypes, and averages their
      losses, as the reference's per-GPU losses; independent of the number of devices.
    decay: Weight of the old prototypes; the batch has the rest.
    keep_absent: See `memory.prototypes.update`.
    temperature: Divides the similarities.
    weight: Factor of the loss.
    start_step: First step of the term; nothing is collected before.
    source_pass: Whether to start from the prototypes of the whole source, by one pass before the first
      step, as published; else from the first batch with each class.

  Source: SPCL; golden `spcl/train_steps`, `spcl/groups`.
  """

  def init(key) -> ClassPrototypes:
    del key  # no randomness
    table = jnp.zeros((groups, num_classes, dim), jnp.float32)
    return ClassPrototypes(table, jnp.zeros((groups, num_classes), bool))

  def update(state: ClassPrototypes, features: jax.Array, label: jax.Array) -> ClassPrototypes:
    batch = memory.class_means(arrays.l2_normalize(features), label, num_classes)
    new = prototypes.update(state.prototypes, *batch, decay=decay, keep_absent=keep_absent)
    first = (batch.counts > 0) & ~state.present
    return ClassPrototypes(jnp.where(first[:, None], batch.means, new), state.present | first)

  def contrast(state: ClassPrototypes, features: jax.Array, label: jax.Array) -> jax.Array:
    return losses.prototype_cross_entropy(
      features,
      label,
      state.prototypes,
      temperature=temperature,
      normalize=True,
      class_mask=state.present,
    )

  def group_losses(state, source_pixels, target_pixels):
    state = update(state, *source_pixels)
    return state, contrast(state, *source_pixels), contrast(state, *target_pixels)

  def apply(state: ClassPrototypes, ctx: Context, draws: None) -> Result[ClassPrototypes]:
    del draws
    if not ctx.started(start_step):
      return Result(jnp.float32(0), state, {})
    source_pixels = correct_features(ctx.student(source), ctx.views[source])
    _check_dim(source_pixels[0], dim)
    target_pixels = _labelled_features(ctx.student(target), ctx.views[target])
    split = lambda tree: jax.tree.map(functools.partial(split_groups, groups=groups), tree)
    state, *group = jax.vmap(group_losses)(state, split(source_pixels), split(target_pixels))
    domains = dict(zip(("source", "target"), map(jnp.mean, group), strict=True))
    metrics = {
      "classes_seen": jnp.sum(jnp.any(state.present, 0)),
      "correct_pixels": jnp.mean(source_pixels[1] < num_classes),
      **domains,
    }
    return Result(weight * (domains["source"] + domains["target"]), state, metrics)

  gather = prototype_pass(num_classes=num_classes, dim=dim) if source_pass else None
  return Objective(init, apply, phases=(start_step,), source_pass=gather)


def prototype_pass(
  *, num_classes: int, dim: int
) -> SourcePass[ClassPrototypes, memory.PrototypeSums]:
  """One pass over the labelled source, from which `similarity_contrast` starts.

  Each image counts once in every class that it holds; all groups start from the same prototypes. A
  class that is nowhere classified right keeps none. Source: SPCL; golden `spcl/proto_init`.
  """

  def add(sums: memory.PrototypeSums, view: View, outputs: Outputs) -> memory.PrototypeSums:
    features, label = correct_features(outputs, view)
    _check_dim(features, dim)
    return prototypes.add_images(sums, arrays.l2_normalize(features), label)

  def finish(state: ClassPrototypes, sums: memory.PrototypeSums) -> ClassPrototypes:
    everywhere = lambda x, like: jnp.broadcast_to(x, like.shape).astype(like.dtype)
    return ClassPrototypes(
      everywhere(prototypes.prototypes_of(sums), state.prototypes),
      everywhere(sums.images > 0, state.present),
    )

  return SourcePass(lambda: prototypes.empty_prototype_sums(num_classes, dim), add, finish)


def _check_dim(features: jax.Array, dim: int) -> None:
  """Raises SettingError unless the features have `dim` channels."""
  if features.shape[-1] != dim:
    raise SettingError(
      "method.feature_dim", f"= {dim}, but the decoder's map has {features.shape[-1]} channels."
    )
