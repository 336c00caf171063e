"""Student embeddings against what the teacher's source embeddings say of each class (SePiCo)."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.memory import class_statistics, ring_bank
from jax_uda.ops.labels import ignore_unweighted
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, Result


class ClassMemory(NamedTuple):
  """Statistics of every class, and its bank (`()` unless the variant is "bank")."""

  statistics: memory.ClassStatistics
  bank: Any


def class_contrast(
  *,
  views: Sequence[str],
  statistics_view: str,
  num_classes: int,
  dim: int,
  variant: Literal["prototype", "distribution", "bank"] = "distribution",
  head: str = "projection",
  temperature: float = 100.0,
  weight: float = 1.0,
  regularizer_weight: float = 1.0,
  regularizer_sign: int = 1,
  min_ratio: float = 0.75,
  bank_length: int = 200,
  bank_zero_entry: bool = True,
  mask_unseen: bool = False,
  start_step: int = 0,
) -> Objective:
  """Statistics first, then the contrast of each view with the statistics just updated.

  The statistics are collected in every step, also before `start_step`, from the teacher's embeddings
  of a labelled view. Labels are downscaled to the embeddings' grid by majority; pixels of weight 0
  are ignored, other weights play no part.

  Args:
    views: Views whose student embeddings are contrasted, each with its own labels.
    statistics_view: Labelled view for the teacher, as a rule the source without augmentation.
    num_classes: C.
    dim: Embedding dimension, A.
    variant: What stands for a class: its mean, its Gaussian, or the last `bank_length` step means.
    head: The head that gives the embeddings.
    temperature: Divides the similarities.
    weight: Factor of the whole term.
    regularizer_weight: Factor of `losses.mean_similarity_regularizer`; 0 leaves it out.
    regularizer_sign: Its sign.
    min_ratio: Share of a cell's pixels that its majority class must hold.
    bank_length: Entries a class.
    bank_zero_entry: A fresh bank holds one zero vector a class, as in the reference.
    mask_unseen: Leave classes never seen out of the softmax; the reference keeps them at 0. (A bank
      without entries is left out in any case.)
    start_step: The contrast's first step; a gate of the method.

  Raises:
    ValueError: `variant` is unknown.

  Source: SePiCo (Xie et al., TPAMI 2023); goldens `sepico/step_*`.
  """
  if variant not in ("prototype", "distribution", "bank"):
    raise ValueError(
      f"config.method.variant = {variant!r}; expected 'prototype', 'distribution' or 'bank'."
    )
  labels_at = lambda label, grid: losses.downscale_label(
    label, label.shape[2] // grid[1], num_classes, min_ratio
  )

  def init(key) -> ClassMemory:
    del key  # empty memories need no randomness
    bank = ()
    if variant == "bank":
      bank = memory.empty_ring_bank(num_classes, bank_length, dim, zero_entry=bank_zero_entry)
    return ClassMemory(memory.empty_class_statistics(num_classes, dim), bank)

  def update(state: ClassMemory, ctx: Context) -> ClassMemory:
    embedding = ctx.teacher(statistics_view).heads[head]
    label = labels_at(ctx.views[statistics_view].label, embedding.shape[1:3])
    statistics = class_statistics.update(state.statistics, embedding, label)
    if variant != "bank":
      return ClassMemory(statistics, ())
    means, counts = memory.class_means(embedding, label, num_classes)
    return ClassMemory(statistics, ring_bank.push(state.bank, means, counts > 0))

  def contrast(state: ClassMemory, embedding: jax.Array, label: jax.Array) -> jax.Array:
    mean, variance, count = state.statistics
    seen = count > 0 if mask_unseen else None
    if variant == "bank":
      entries, length = state.bank.entries, state.bank.length
      return losses.bank_cross_entropy(embedding, label, entries, length, temperature=temperature)
    if variant == "prototype":
      return losses.prototype_cross_entropy(
        embedding, label, mean, temperature=temperature, class_mask=seen
      )
    return losses.distribution_cross_entropy(
      embedding, label, mean, variance, temperature=temperature, class_mask=seen
    )

  def apply(state: ClassMemory, ctx: Context) -> Result:
    state = update(state, ctx)
    total = jnp.float32(0)
    metrics = {"classes_seen": jnp.sum(state.statistics.count > 0)}
    if not ctx.started(start_step):
      return Result(total, state, metrics)
    for name in views:
      view, embedding = ctx.views[name], ctx.student(name).heads[head]
      label = labels_at(ignore_unweighted(view.label, view.weight), embedding.shape[1:3])
      loss = contrast(state, embedding, label)
      if regularizer_weight:
        regularizer = losses.mean_similarity_regularizer(
          embedding,
          label,
          state.statistics.mean,
          temperature=temperature,
          sign=regularizer_sign,
        )
        loss = loss + regularizer_weight * regularizer
        metrics[f"{name}_regularizer"] = regularizer
      metrics[name] = loss
      total = total + weight * loss
    return Result(total, state, metrics)

  return Objective(init, apply)
