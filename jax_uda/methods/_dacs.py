"""DACS: self-training on ClassMix images (Tranheden et al., WACV 2021), and DAFormer's form of it.

One step: cross-entropy on the source, and on source classes pasted onto target images whose labels
and weights come from the teacher. DAFormer (Hoyer et al., CVPR 2022) adds the distance of the
encoder's features from those of the frozen initial network; it means something when that network was
pretrained on ImageNet.
"""

import functools
from collections.abc import Sequence
from typing import Literal

from jax_uda import objectives
from jax_uda.common.registry import SettingError
from jax_uda.methods.requirements import class_weights
from jax_uda.step.method import Method, Task
from jax_uda.views import self_training as self_training_views
from jax_uda.views.self_training import SelfTraining

# Traffic light and sign, person, rider and all vehicles, among the 19 Cityscapes classes.
CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)


def dacs(
  task: Task,
  *,
  self_training: SelfTraining = SelfTraining(),
  source_denominator: Literal["all", "valid"] = "all",
  feature_distance_weight: float = 0.0,
  feature_distance_ratio: float = 0.75,
  thing_classes: Sequence[int] = (),
) -> Method:
  """Self-training; with a feature distance it is DAFormer's.

  Args:
    task: Number and frequencies of the classes.
    self_training: Pseudo-labels, mixing and augmentation.
    source_denominator: Pixels that the mean of the source loss counts: "all" (DAFormer's code) or
      those with a label, "valid" (RCCR).
    feature_distance_weight: Factor of the distance to the frozen initial encoder; 0 = no such term.
    feature_distance_ratio: Share of a cell of the features that its most frequent class must hold.
    thing_classes: Classes whose features are compared.
  """
  # Terms ask for the passes through BatchNorm in their order: source, then mixed.
  cross_entropy = functools.partial(
    objectives.cross_entropy,
    class_weights=class_weights(task, self_training.class_weight_power),
    align_corners=self_training.align_corners,
  )
  terms = {"source": cross_entropy(view="source", denominator=source_denominator)}
  if feature_distance_weight:
    terms["feature_distance"] = objectives.feature_distance(
      view="source",
      num_classes=task.num_classes,
      thing_classes=thing_classes,
      weight=feature_distance_weight,
      min_ratio=feature_distance_ratio,
    )
  terms["mixed"] = cross_entropy(view="mixed")
  return Method(
    views={"self_training": self_training_views.views(self_training)},
    terms=terms,
    uses_reference=bool(feature_distance_weight),
  )


def daformer(
  task: Task,
  *,
  self_training: SelfTraining = SelfTraining(),
  feature_distance_weight: float = 0.005,
  feature_distance_ratio: float = 0.75,
  thing_classes: Sequence[int] = (),
) -> Method:
  """DAFormer: `dacs` with the feature distance.

  Args:
    task: Number and frequencies of the classes.
    self_training: Pseudo-labels, mixing and augmentation.
    feature_distance_weight: Factor of the distance to the frozen initial encoder.
    feature_distance_ratio: As in `dacs`.
    thing_classes: Classes whose features are compared; by default those of Cityscapes.

  Raises:
    SettingError: `thing_classes` is missing and the classes are not those of Cityscapes.
  """
  return dacs(
    task,
    self_training=self_training,
    thing_classes=thing_classes_of(task, thing_classes),
    feature_distance_weight=feature_distance_weight,
    feature_distance_ratio=feature_distance_ratio,
  )


def thing_classes_of(task: Task, chosen: Sequence[int] = ()) -> tuple[int, ...]:
  """The chosen thing classes or, if none are chosen, those among the 19 Cityscapes classes.

  Raises:
    SettingError: None are chosen, and the classes are not those of Cityscapes; or an id is unknown.
  """
  if not chosen and task.num_classes != 19:
    raise SettingError(
      "method.thing_classes",
      f"is missing: which of the {task.num_classes} classes are things is known for the 19 Cityscapes "
      "classes only.",
    )
  things = tuple(chosen) or CITYSCAPES_THINGS
  if not 0 <= min(things) <= max(things) < task.num_classes:
    raise SettingError(
      "method.thing_classes",
      f"= {things} must lie between 0 and {task.num_classes - 1}, the classes of config.data.",
    )
  return things
