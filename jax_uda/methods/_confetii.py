"""CONFETII, the one-stage form of CONFETI (Li et al., 2023) in the authors' later code.

As in CONFETI, the student trains on source images in the style of the target, and one prototype per class
ties pixels of both domains together. Here the translator starts at random, and one run trains all of it:

  step 0       the translator alone
  from 1       the student on translated source images: cross-entropy, contrast with the prototypes,
               class activation maps, feature distance
  from 1001    the translator keeps the similarities that the teacher sees
  from 3001    mixed images; the prototypes follow them in place of the source

Prototypes, projections and class activation maps are those of the encoder's last map (DeepLabV2), or of all of
its maps (DAFormer), and losses are averaged over these levels.

Extra cost beside DAFormer: the training of the translator, and one teacher pass each of the source, of its
translation, with a gradient, and of the mixed images.
"""

import functools
import types
from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda import objectives
from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.methods._dacs import thing_classes_of
from jax_uda.methods._one_stage_translator import OneStage, OneStageTranslator
from jax_uda.methods.requirements import class_weights
from jax_uda.models.heads.cam import CAMHead
from jax_uda.models.heads.projection import LevelProjectionHead
from jax_uda.step.method import Method, Task
from jax_uda.views import confeti as confeti_views
from jax_uda.views.self_training import SelfTraining

NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def confetii(
  task: Task,
  *,
  levels: Sequence[int] = (-1,),
  self_training: SelfTraining = SelfTraining(),
  jitter: confeti_views.Jitter = "kornia058",
  thing_classes: Sequence[int] = (),
  feature_distance_weight: float = 0.005,
  consistency_after: int = 1000,
  mixed_after: int = 3000,
  embedding_dim: int = 256,
  contrast: Mapping[str, Any] = NOTHING,
  cam_weight: float = 0.1,
  consistency: Mapping[str, Any] = NOTHING,
  prototypes: Mapping[str, Any] = NOTHING,
  translator: OneStage = OneStage(),
) -> Method:
  """CONFETII; the defaults are those of its recipes with DeepLabV2, but for the share of contrasted cells.

  Args:
    task: Number and frequencies of the classes.
    levels: Positions of the encoder maps that have prototypes, projection and class activation maps; -1 is
      the last. Published are the last, and all four of MiT.
    self_training: Pseudo-labels (margins are rows of the crop), mixing and augmentation. Published are
      the defaults, without class weights.
    jitter: The color jitter of kornia 0.5.8, as in the other methods, or of 0.6.7, which the published
      environment names.
    thing_classes: Classes whose features are compared; by default those of Cityscapes.
    feature_distance_weight: Factor of the distance to the frozen initial encoder.
    consistency_after: Last step without the consistency of translations.
    mixed_after: Last step of the prototypes' warm-up; mixed images are trained with from the next.
    embedding_dim: Channels of the projections, A.
    contrast: Keyword arguments of `objectives.level_contrast`.
    cam_weight: Factor of the loss of class activation maps.
    consistency: `weight` and `temperature` of `objectives.level_consistency`.
    prototypes: `momentum` and `top_k` of `objectives.level_prototypes`.
    translator: How images are translated.

  Raises:
    SettingError: `levels` is empty, a setting is unknown or out of range, or `thing_classes` is missing.
  """
  if not levels or len(set(levels)) < len(levels):
    raise SettingError("method.levels", f"= {tuple(levels)!r} must name encoder maps, each once.")
  heads = tuple(f"projection_{i}" for i in range(len(levels)))
  cam_heads = tuple(f"cam_{i}" for i in range(len(levels)))
  networks = OneStageTranslator(
    translator,
    num_levels=len(levels),
    embedding_dim=embedding_dim,
    affine_start=consistency_after + 1,
  )
  comparisons = _comparisons(task, heads, networks, mixed_after, contrast, consistency)
  prototype_term = registry.call(
    objectives.level_prototypes,
    "method.prototypes",
    source_view="raw",
    mixed_view="mixed",
    warmup_end=mixed_after,
    num_classes=task.num_classes,
    dim=embedding_dim,
    heads=heads,
    cam_heads=cam_heads,
    comparisons=comparisons,
    **prototypes,
  )
  distance = objectives.feature_distance(
    view="source",
    reference_view="raw",
    num_classes=task.num_classes,
    thing_classes=thing_classes_of(task, thing_classes),
    weight=feature_distance_weight,
    start_step=1,
  )
  supervised = functools.partial(_supervised, task, self_training, cam_heads, cam_weight)
  terms = {
    **supervised("source", 1),
    "feature_distance": distance,
    "prototypes": prototype_term,
    **supervised("mixed", mixed_after + 1),
  }
  projection = functools.partial(LevelProjectionHead, embedding_dim)
  cam = functools.partial(CAMHead, task.num_classes, use_bias=True)
  modules: dict[str, Any] = {}
  for level, head, cam_head in zip(levels, heads, cam_heads, strict=True):
    modules[head] = functools.partial(projection, level)
    modules[cam_head] = functools.partial(cam, level)
  return Method(
    views={"confetii": confeti_views.one_stage_views(self_training, jitter)},
    terms=terms,
    uses_reference=True,
    heads=modules,
    teacher_outputs={
      "target": ("decoder",),
      "raw": heads,
      "translated": heads,
      "mixed": (*heads, *cam_heads),
    },
    start_steps={"": 1},
    auxiliary=networks.auxiliary,
  )


def _comparisons(
  task: Task,
  heads: tuple[str, ...],
  networks: OneStageTranslator,
  mixed_after: int,
  contrast: Mapping[str, Any],
  consistency: Mapping[str, Any],
) -> dict[str, objectives.Comparison]:
  """What is compared with the prototypes, in the order of the passes."""
  compare = functools.partial(
    registry.call,
    objectives.level_contrast,
    "method.contrast",
    heads=heads,
    num_classes=task.num_classes,
    **contrast,
  )
  consistent = registry.call(
    objectives.level_consistency,
    "method.consistency",
    view="raw",
    translated_view="translated",
    start_step=networks.affine_start,
    heads=heads,
    translate=networks.translate,
    regress=networks.regress,
    **consistency,
  )
  return {
    "consistency": consistent,
    "source": compare(view="source", start_step=1),
    "mixed": compare(view="mixed", start_step=mixed_after + 1),
  }


def _supervised(
  task: Task,
  settings: SelfTraining,
  cam_heads: Sequence[str],
  cam_weight: float,
  view: str,
  start_step: int,
) -> dict[str, objectives.Objective[Any]]:
  """The terms of a labelled view beside the contrast."""
  return {
    view: objectives.cross_entropy(
      view=view,
      class_weights=class_weights(task, settings.class_weight_power),
      align_corners=settings.align_corners,
      start_step=start_step,
    ),
    f"{view}_classes": objectives.image_classes(
      view=view, heads=cam_heads, weight=cam_weight, start_step=start_step
    ),
  }
