"""Student embeddings against what the teacher's source embeddings say of each class (SePiCo)."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda import losses, memory
from jax_uda.common import registry
from jax_uda.memory import class_statistics, ring_bank
from jax_uda.ops import labels
from jax_uda.step.context import Context, View
from jax_uda.step.objective import Objective, Result
from jax_uda.step.outputs import Outputs

Variant = Literal["prototype", "distribution", "bank"]


class ClassMemory(NamedTuple):
  """Statistics of every class, and its bank (`()` unless the variant is "bank")."""

  statistics: memory.ClassStatistics
  bank: Any


class Representation(NamedTuple):
  """What stands for a class in the contrast.

  Attributes:
    init: `() -> bank`, or `()` where the statistics are enough.
    update: `(bank, embeddings, labels) -> bank`.
    contrast: `(memory, embeddings, labels, temperature, present) -> loss`; `present` is [C] bool, or
      None where all classes take part.
  """

  init: Callable[[], Any]
  update: Callable[[Any, jax.Array, jax.Array], Any]
  contrast: Callable[..., jax.Array]


def _prototypes() -> Representation:
  """The mean of each class (ProtoCL)."""

  def contrast(state: ClassMemory, embedding, label, temperature, present):
    return losses.prototype_cross_entropy(
      embedding, label, state.statistics.mean, temperature=temperature, class_mask=present
    )

  return Representation(lambda: (), lambda bank, embedding, label: (), contrast)


def _distributions() -> Representation:
  """The Gaussian of each class (DistCL)."""

  def contrast(state: ClassMemory, embedding, label, temperature, present):
    mean, variance, _ = state.statistics
    return losses.distribution_cross_entropy(
      embedding, label, mean, variance, temperature=temperature, class_mask=present
    )

  return Representation(lambda: (), lambda bank, embedding, label: (), contrast)


def _banks(num_classes: int, dim: int, length: int, zero_entry: bool) -> Representation:
  """The last `length` step means of each class (BankCL)."""

  def update(bank: memory.RingBank, embedding, label) -> memory.RingBank:
    means, counts = memory.class_means(embedding, label, num_classes)
    return ring_bank.push(bank, means, counts > 0)

  def contrast(state: ClassMemory, embedding, label, temperature, present):
    del present  # a bank without entries is left out in any case
    entries, length = state.bank.entries, state.bank.length
    return losses.bank_cross_entropy(embedding, label, entries, length, temperature=temperature)

  empty = lambda: memory.empty_ring_bank(num_classes, length, dim, zero_entry=zero_entry)
  return Representation(empty, update, contrast)


class _Contrast(NamedTuple):
  """The term without its wiring.

  Attributes:
    represent: What stands for a class.
    num_classes: Number of classes, C.
    head: The head that gives the embeddings.
    temperature: Divides the similarities.
    regularizer: (factor, sign) of `losses.mean_similarity_regularizer`.
    min_ratio: Share of a cell's pixels that its majority class must hold.
    mask_unseen: Whether classes without statistics are left out of the softmax.
  """

  represent: Representation
  num_classes: int
  head: str
  temperature: float
  regularizer: tuple[float, int]
  min_ratio: float
  mask_unseen: bool

  def update(self, state: ClassMemory, outputs: Outputs, view: View) -> ClassMemory:
    """The memory with the teacher's embeddings of a labelled view."""
    embedding = outputs.heads[self.head]
    label = self._labels_at(view.label, embedding)
    statistics = class_statistics.update(state.statistics, embedding, label)
    return ClassMemory(statistics, self.represent.update(state.bank, embedding, label))

  def loss(
    self, state: ClassMemory, outputs: Outputs, view: View
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The contrast of one view with its regularizer; and the regularizer, if there is one."""
    embedding = outputs.heads[self.head]
    label = self._labels_at(labels.ignore_unweighted(view.label, view.weight), embedding)
    present = state.statistics.count > 0 if self.mask_unseen else None
    loss = self.represent.contrast(state, embedding, label, self.temperature, present)
    factor, sign = self.regularizer
    if not factor:
      return loss, {}
    regularizer = losses.mean_similarity_regularizer(
      embedding, label, state.statistics.mean, temperature=self.temperature, sign=sign
    )
    return loss + factor * regularizer, {"regularizer": regularizer}

  def _labels_at(self, label: jax.Array, embedding: jax.Array) -> jax.Array:
    stride = label.shape[2] // embedding.shape[2]
    return labels.downscale_label(label, stride, self.num_classes, self.min_ratio)


def class_contrast(
  *,
  views: Sequence[str],
  statistics_view: str,
  num_classes: int,
  dim: int,
  variant: Variant = "distribution",
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
) -> Objective[ClassMemory]:
  """Statistics first, then the contrast of each view with the statistics just updated.

  The statistics are collected in every step, also before `start_step`, from the teacher's embeddings
  of a labelled view. Labels are downscaled to the embeddings' grid by majority; pixels of weight 0
  are ignored, other weights play no part.

  Args:
    views: Views whose student embeddings are contrasted, each with its own labels.
    statistics_view: Labelled view for the teacher, as a rule the source without augmentation.
    num_classes: Number of classes, C.
    dim: Embedding dimension, A.
    variant: What stands for a class: its mean, its Gaussian, or the last `bank_length` step means.
    head: The head that gives the embeddings.
    temperature: Divides the similarities.
    weight: Factor of the whole term.
    regularizer_weight: Factor of `losses.mean_similarity_regularizer`; 0 leaves it out.
    regularizer_sign: Sign of the regularizer.
    min_ratio: Share of a cell's pixels that its majority class must hold.
    bank_length: Entries per class.
    bank_zero_entry: Whether a fresh bank holds one zero vector per class, as in the reference.
    mask_unseen: Whether classes without statistics are left out of the softmax; the reference keeps
      them at 0. (A bank without entries is left out in any case.)
    start_step: First step of the contrast.

  Raises:
    SettingError: `variant` is unknown.

  Source: SePiCo (Xie et al., TPAMI 2023); goldens `sepico/step_*`.
  """
  represent = registry.lookup(
    {
      "prototype": _prototypes,
      "distribution": _distributions,
      "bank": lambda: _banks(num_classes, dim, bank_length, bank_zero_entry),
    },
    variant,
    "variant",
  )()
  regularizer = (regularizer_weight, regularizer_sign)
  contrast = _Contrast(
    represent, num_classes, head, temperature, regularizer, min_ratio, mask_unseen
  )

  def init(key: jax.Array) -> ClassMemory:
    del key  # empty memories need no randomness
    return ClassMemory(memory.empty_class_statistics(num_classes, dim), represent.init())

  def apply(state: ClassMemory, ctx: Context, draws: None) -> Result[ClassMemory]:
    del draws
    state = contrast.update(state, ctx.teacher(statistics_view), ctx.views[statistics_view])
    total = jnp.float32(0)
    metrics = {"classes_seen": jnp.sum(state.statistics.count > 0)}
    for name in views if ctx.started(start_step) else ():
      loss, parts = contrast.loss(state, ctx.student(name), ctx.views[name])
      metrics |= {name: loss, **{f"{name}_{part}": value for part, value in parts.items()}}
      total = total + weight * loss
    return Result(total, state, metrics)

  return Objective(init, apply, phases=(start_step,))
