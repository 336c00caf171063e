"""CONFETI (Li et al., CVPR Workshops 2023): DAFormer on translated source images, with prototypes.

The student never trains on a source image as it is: a translator (CUT) turns it into the style of the
target first. One prototype per class, from the teacher's embeddings of mixed images, ties the two: pixels
are contrasted with the prototypes, and a translation must not change how similar a pixel is to them.

Stage 0 trains the translator alone, stage 1 trains all. Stage 2 trains a new student with the stage-1
translator frozen, without the consistency loss and without contrasting target images.

Extra cost beside DAFormer: one pass of the generator and one of the teacher; in stage 1 also two student
encoder passes of the source, one of the target, and the training of the translator.
"""

import functools
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda import memory, objectives
from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.methods._dacs import thing_classes_of
from jax_uda.methods._translator import Translator
from jax_uda.methods.requirements import class_weights
from jax_uda.models.heads.cam import CAMHead
from jax_uda.models.heads.projection import LinearProjectionHead
from jax_uda.step.context import Pass
from jax_uda.step.method import Method, Task
from jax_uda.views import confeti as confeti_views
from jax_uda.views.self_training import SelfTraining

CAM, HEAD = "cam", "projection"
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


def confeti(
  task: Task,
  *,
  stage: int = 1,
  self_training: SelfTraining = SelfTraining(),
  thing_classes: Sequence[int] = (),
  feature_distance_weight: float = 0.005,
  mixed_cam_after: int = 2000,
  contrast_after: int = 3000,
  embedding_dim: int = 512,
  contrast: Mapping[str, Any] = NOTHING,
  consistency_weight: float = 0.1,
  prototypes: Mapping[str, Any] = NOTHING,
  translator: Mapping[str, Any] = NOTHING,
) -> Method:
  """One of CONFETI's stages.

  Args:
    task: Number and frequencies of the classes.
    stage: 0, 1 or 2; a later stage begins with the translator of the stage before.
    self_training: Pseudo-labels (margins are rows of the crop), mixing and augmentation. Published are
      the defaults, without class weights.
    thing_classes: Classes whose features are compared; by default those of Cityscapes.
    feature_distance_weight: Factor of the distance to the frozen initial encoder.
    mixed_cam_after: Last step without the image classes of mixed images.
    contrast_after: Last step of the prototypes' warm-up. Mixed images are contrasted from this step on,
      source and target images from the next.
    embedding_dim: Channels of the projection head, A.
    contrast: Keyword arguments of `objectives.prototype_contrast`.
    consistency_weight: Factor of the translation's consistency.
    prototypes: Keyword arguments of `memory.cam_prototypes.update`.
    translator: Keyword arguments of `Translator`.

  Raises:
    SettingError: `stage` is unknown, or `thing_classes` is missing.
  """
  if stage not in (0, 1, 2):
    raise SettingError("method.stage", f"= {stage}; expected 0, 1 or 2.")
  defaults = {"train": stage < 2, "embedding_dim": embedding_dim if stage == 1 else 0}
  cut = registry.call(Translator, "method.translator", **(defaults | dict(translator)))
  if stage == 0:
    return Method(views={}, terms={}, start_steps={"": None}, auxiliary=cut.auxiliary)
  compare = functools.partial(
    registry.call, objectives.prototype_contrast, "method.contrast", head=HEAD, **contrast
  )
  comparisons = _comparisons(
    compare, contrast_after, cut if stage == 1 else None, consistency_weight
  )
  prototype_term = objectives.cam_prototypes(
    view="mixed",
    warmup_view="pasted",
    warmup_end=contrast_after + 1,
    num_classes=task.num_classes,
    dim=embedding_dim,
    comparisons=comparisons,
    head=HEAD,
    cam_head=CAM,
    update=_checked(prototypes),
  )
  distance = objectives.feature_distance(
    view="source",
    reference_view="raw",
    num_classes=task.num_classes,
    thing_classes=thing_classes_of(task, thing_classes),
    weight=feature_distance_weight,
  )
  frozen = Pass(outputs=(HEAD,), frozen=True)
  passes = {"raw": frozen, "translated": frozen, "target": Pass(outputs=(HEAD,))}
  return Method(
    views={"confeti": confeti_views.views(self_training)},
    terms=_terms(task, self_training, distance, prototype_term, mixed_cam_after + 1),
    uses_reference=True,
    heads={
      CAM: functools.partial(CAMHead, task.num_classes),
      HEAD: functools.partial(LinearProjectionHead, embedding_dim),
    },
    passes=lambda phase: passes,
    start_steps={f"heads_{HEAD}": contrast_after},
    auxiliary=cut.auxiliary,
  )


def _checked(prototypes: Mapping[str, Any]) -> Mapping[str, Any]:
  """Returns the settings of the prototypes; raises SettingError if one is unknown."""
  known = inspect.signature(memory.cam_prototypes.update).parameters
  registry.check_names(prototypes, known, "method.prototypes")
  return prototypes


def _terms(
  task: Task,
  settings: SelfTraining,
  distance: objectives.Objective[Any],
  prototypes: objectives.Objective[Any],
  mixed_cam_start: int,
) -> dict[str, objectives.Objective[Any]]:
  """The terms of stages 1 and 2 in the order of their passes."""
  cross_entropy = functools.partial(
    objectives.cross_entropy,
    class_weights=class_weights(task, settings.class_weight_power),
    align_corners=settings.align_corners,
  )
  return {
    "source": cross_entropy(view="source"),
    "source_classes": objectives.image_classes(view="source"),
    "feature_distance": distance,
    "prototypes": prototypes,
    "mixed": cross_entropy(view="mixed"),
    "mixed_classes": objectives.image_classes(view="mixed", start_step=mixed_cam_start),
  }


def _comparisons(
  compare: Any, start_step: int, translator: Translator | None, consistency_weight: float
) -> dict[str, objectives.Comparison]:
  """The comparisons with the prototypes, in the order of the passes.

  Consistency and the contrast of target images need the `translator` of stage 1.
  """
  later = functools.partial(compare, start_step=start_step + 1)
  mixed = compare(view="mixed", start_step=start_step)
  if translator is None:
    return {"source": later(view="source"), "mixed": mixed}
  consistency = objectives.translation_consistency(
    view="raw",
    translated_view="translated",
    translate=translator.translate,
    regress=translator.regress,
    head=HEAD,
    weight=consistency_weight,
  )
  return {
    "source": later(view="source"),
    "consistency": consistency,
    "mixed": mixed,
    "target": later(view="target", weigh=True),
  }
