"""SePiCo (Xie et al., TPAMI 2023): self-training, and pixels contrasted with what a class looks like.

One step, beside the source and mixed cross-entropies of DACS: the teacher embeds the source without
augmentation, and the source labels sort these embeddings into class statistics. The student's source and
target embeddings are contrasted with the statistics. The target crop is the most class-diverse of ten by
the teacher's labels of the whole image; then the teacher labels the crop again.

Extra cost: one teacher encoder pass of the source, one of the whole target, and from `start_step` on one
student encoder pass of the target.
"""

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.common import registry
from jax_uda.methods.requirements import class_weights as frequency_weights
from jax_uda.models.heads.projection import ProjectionHead
from jax_uda.step.context import Pass
from jax_uda.step.method import Method, Task
from jax_uda.views import sepico as sepico_views
from jax_uda.views.self_training import SelfTraining

HEAD = "projection"


def sepico(
  task: Task,
  *,
  start_step: int = 3000,
  self_training: SelfTraining = SelfTraining(),
  contrast: Mapping[str, Any] = types.MappingProxyType({}),
  crop_target: bool = True,
  crop_candidates: int = 10,
  max_class_ratio: float = 0.75,
  day_night_fusion: bool = False,
  class_weights: Sequence[float] | None = None,
  embedding_dim: int = 512,
  head_options: Mapping[str, Any] = types.MappingProxyType({}),
) -> Method:
  """SePiCo with prototypes, distributions or banks.

  Args:
    task: Number and frequencies of the classes.
    start_step: First step of the contrast; the projection head is untouched before. The statistics are
      collected from step 0.
    self_training: Pseudo-labels (margins are rows of the *crop*), mixing and augmentation. Source
      images are always augmented.
    contrast: Keyword arguments of `objectives.class_contrast`: `variant` ("prototype", "distribution"
      or "bank": ProtoCL, DistCL and BankCL of the paper), `temperature`, `weight`, …
    crop_target: If true, batches hold whole target images (`config.data.crop_target = False`): the
      teacher labels the whole image, the most class-diverse of several random crops is kept, and that
      crop is labelled again.
    crop_candidates: Number of random crops of which one is kept.
    max_class_ratio: See `balanced_crop.crop_scores`.
    day_night_fusion: Whether the target batch brings `day_image`, whose predictions help (Dark Zurich).
    class_weights: [C] factors in all cross-entropies and, with `day_night_fusion`, of the fused
      probabilities (`day_night.frequency_weights`); None = by `self_training.class_weight_power`.
    embedding_dim: Channels of the projection head, A.
    head_options: Further attributes of the projection head (`ProjectionHead`).
  """
  weights = frequency_weights(task, self_training.class_weight_power)
  if class_weights is not None:
    weights = jnp.asarray(class_weights, jnp.float32)
  with registry.within("method", "contrast"):
    contrast_term = registry.call(
      objectives.class_contrast,
      (),
      views=("source", "target"),
      statistics_view="weak",
      num_classes=task.num_classes,
      dim=embedding_dim,
      head=HEAD,
      start_step=start_step,
      **contrast,
    )
  cross_entropy = functools.partial(
    objectives.cross_entropy, class_weights=weights, align_corners=self_training.align_corners
  )
  target = sepico_views.TargetCrop(
    num_classes=task.num_classes,
    class_weights=weights,
    crop=crop_target,
    candidates=crop_candidates,
    max_class_ratio=max_class_ratio,
    day_night_fusion=day_night_fusion,
  )

  labelled = dict.fromkeys(sepico_views.TEACHER_VIEWS, ("decoder",))
  return Method(
    views={"sepico": sepico_views.views(self_training, target)},
    # Terms ask for the passes through BatchNorm in their order: source, target, mixed.
    terms={
      "source": cross_entropy(view="source"),
      "contrast": contrast_term,
      "mixed": cross_entropy(view="mixed"),
    },
    heads={HEAD: functools.partial(ProjectionHead, dim=embedding_dim, **head_options)},
    passes=functools.partial(_passes, start_step),
    teacher_outputs={"weak": (HEAD,), **labelled},
    start_steps={f"heads_{HEAD}": start_step},
  )


def _passes(start_step: int, phase: int) -> dict[str, Pass]:
  """Options of the student's passes; the projection of the source is computed from `start_step` on."""
  started = phase >= start_step
  return {
    "source": Pass(outputs=("decoder", HEAD) if started else ("decoder",)),
    "target": Pass(outputs=(HEAD,)),
    "mixed": Pass(outputs=("decoder",)),
  }
