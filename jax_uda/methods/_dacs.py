"""DACS: self-training on ClassMix images (Tranheden et al., WACV 2021), as DAFormer's code runs it.

One step: cross-entropy on the source, and on source classes pasted onto target images whose labels
and weights come from the teacher.
"""

import functools
from collections.abc import Sequence
from typing import Any, Literal

from jax_uda import objectives
from jax_uda.methods.requirements import class_weights
from jax_uda.step.method import Method, Task
from jax_uda.views import self_training


def dacs(
  task: Task,
  *,
  pseudo_threshold: float = 0.968,
  pseudo_weight_per_pixel: bool = False,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  mix_per_image_classes: bool = False,
  source_augmentation: bool = False,
  jitter_strength: float = 0.2,
  class_weight_power: float = 0.0,
  source_denominator: Literal["all", "valid"] = "all",
  align_corners: bool = False,
  feature_distance_weight: float = 0.0,
  thing_classes: Sequence[int] = (),
) -> Method:
  """Self-training; with a feature distance it is DAFormer's.

  Args:
    task: The classes and the standardisation.
    pseudo_threshold: A pseudo-label is confident if its probability is at least this.
    pseudo_weight_per_pixel: Learn from confident pixels alone, instead of from all pixels weighted
      by the confident fraction of the batch (the reference).
    ignore_top: Rows at the top of target crops whose pseudo-labels weigh 0 (Cityscapes: 15).
    ignore_bottom: Rows at the bottom, likewise (Cityscapes: 120).
    mix_per_image_classes: See `self_training.mixed_view`.
    source_augmentation: Strong augmentation of the source images, too; the reference has none.
    jitter_strength: Of the colour jitter.
    class_weight_power: Weighs both losses by `source class frequency ** -power`; 0 = equally.
    source_denominator: Pixels that the mean of the source loss counts: "all" (DAFormer's code) or
      those with a label (RCCR).
    align_corners: Of the resizing of logits to labels, also for pseudo-labels.
    feature_distance_weight: Of the distance to the frozen initial encoder; 0 = none.
    thing_classes: The classes it looks at.
  """

  def views(draws, batch, teacher):
    source = self_training.source_view(batch)
    target = self_training.target_view(
      batch,
      teacher,
      threshold=pseudo_threshold,
      ignore_top=ignore_top,
      ignore_bottom=ignore_bottom,
      per_pixel=pseudo_weight_per_pixel,
      align_corners=align_corners,
    )
    mixed = self_training.mixed_view(source, target, draws.classes, per_image=mix_per_image_classes)
    if source_augmentation:
      source = self_training.augmented(source, draws.source)
    mixed = self_training.augmented(mixed, draws.mixed)
    return {"source": source, "target": target, "mixed": mixed}

  weights = class_weights(task, class_weight_power)
  # The order of the terms is that of the passes through BatchNorm: source, then mixed.
  cross_entropy = functools.partial(
    objectives.cross_entropy, class_weights=weights, align_corners=align_corners
  )
  terms = {"source": cross_entropy(view="source", denominator=source_denominator)}
  if feature_distance_weight:
    terms["feature_distance"] = objectives.feature_distance(
      view="source",
      num_classes=task.num_classes,
      thing_classes=thing_classes,
      weight=feature_distance_weight,
    )
  terms["mixed"] = cross_entropy(view="mixed")
  return Method(
    functools.partial(self_training.draw, strength=jitter_strength),
    views,
    objectives.chain(**terms),
    uses_reference=bool(feature_distance_weight),
  )


# Traffic light and sign, person, rider and all vehicles, among the 19 Cityscapes classes.
CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)


def thing_classes_of(task: Task, given: Sequence[int] = ()) -> tuple[int, ...]:
  """The thing classes given, or those among the 19 Cityscapes classes.

  Raises:
    ValueError: None are given, and the classes are not those of Cityscapes; or there are fewer.
  """
  if not given and task.num_classes != 19:
    raise ValueError(
      f"config.method.thing_classes is missing: which of the {task.num_classes} classes are things "
      "is known for the 19 Cityscapes classes only."
    )
  things = tuple(given) or CITYSCAPES_THINGS
  if not 0 <= min(things) <= max(things) < task.num_classes:
    raise ValueError(
      f"config.method.thing_classes = {things} must lie between 0 and {task.num_classes - 1}, the "
      "classes of config.data."
    )
  return things


def daformer(
  task: Task,
  *,
  thing_classes: Sequence[int] = (),
  feature_distance_weight: float = 0.005,
  **settings: Any,
) -> Method:
  """DAFormer.

  Args:
    task: The classes and the standardisation.
    thing_classes: Classes of the feature distance; may be left out for the 19 Cityscapes classes.
    feature_distance_weight: Of the feature distance.
    **settings: See `dacs`.

  Raises:
    ValueError: `thing_classes` is missing and the classes are not those of Cityscapes.
  """
  return dacs(
    task,
    thing_classes=thing_classes_of(task, thing_classes),
    feature_distance_weight=feature_distance_weight,
    **settings,
  )
