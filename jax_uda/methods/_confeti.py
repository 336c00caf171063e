"""CONFETI (Li et al., CVPR Workshops 2023): DAFormer on translated source images, with prototypes.

The student never trains on a source image as it is: a translator (CUT) turns it into the style of the
target first. One prototype a class, from the teacher's embeddings of mixed images, ties the two: pixels
are contrasted with the prototypes, and a translation must not change how similar a pixel is to them.

Stage 0 trains the translator alone, stage 1 all; stage 2 starts a student afresh on the translator of
stage 1, which stays as it is, and has no consistency and no contrast of target images.

Extra cost beside DAFormer: one pass of the generator and one of the teacher; in stage 1 also two student
encoder passes of the source, one of the target, and the training of the translator.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda import objectives
from jax_uda.methods._dacs import thing_classes_of
from jax_uda.methods._translator import Translator
from jax_uda.methods.requirements import class_weights
from jax_uda.models.heads.cam import CAMHead
from jax_uda.models.heads.projection import LinearProjectionHead
from jax_uda.step.method import Method, Task
from jax_uda.step.optimizer import NEVER
from jax_uda.views import confeti as confeti_views
from jax_uda.views import self_training

CAM, HEAD = "cam", "projection"


def confeti(
  task: Task,
  *,
  stage: int = 1,
  thing_classes: Sequence[int] = (),
  feature_distance_weight: float = 0.005,
  pseudo_threshold: float = 0.968,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  jitter_strength: float = 0.2,
  class_weight_power: float = 0.0,
  source_augmentation: bool = False,
  pseudo_weight_per_pixel: bool = False,
  mix_per_image_classes: bool = False,
  mixed_cam_after: int = 2000,
  contrast_after: int = 3000,
  embedding_dim: int = 512,
  consistency_weight: float = 0.1,
  contrast: Mapping[str, Any] | None = None,
  prototypes: Mapping[str, Any] | None = None,
  translator: Mapping[str, Any] | None = None,
) -> Method:
  """One of CONFETI's stages.

  Args:
    task: The classes and the standardisation.
    stage: 0, 1 or 2; `config.init_player` names the run of the stage before.
    thing_classes: As in `daformer`; so is `feature_distance_weight`.
    feature_distance_weight: See there.
    pseudo_threshold: As in `dacs`; so are `ignore_top`, `ignore_bottom` (rows of the crop) and
      `jitter_strength`.
    ignore_top: See there.
    ignore_bottom: See there.
    jitter_strength: See there.
    class_weight_power: As in `dacs`; so are the next three. None is published.
    source_augmentation: See there.
    pseudo_weight_per_pixel: See there.
    mix_per_image_classes: See there.
    mixed_cam_after: Last step without the image classes of mixed images.
    contrast_after: Last step of the prototypes' warm-up, and the first with a contrast: that of
      mixed images; source and target images follow one step later.
    embedding_dim: A.
    consistency_weight: Of the translation's consistency.
    contrast: See `objectives.prototype_contrast`.
    prototypes: See `memory.cam_prototypes.update`.
    translator: See `Translator`.

  Raises:
    ValueError: `stage` is unknown, or `thing_classes` is missing.
  """
  if stage not in (0, 1, 2):
    raise ValueError(f"config.method.stage = {stage}; expected 0, 1 or 2.")
  cut = Translator(
    **{"train": stage < 2, "embedding_dim": embedding_dim if stage == 1 else 0}
    | dict(translator or {}),
  )
  if stage == 0:
    return Method(
      draw=lambda key, batch: None,
      views=lambda draws, batch, teacher: {},
      objective=objectives.chain(),
      start_steps={"": NEVER},
      player=cut.player,
    )
  settled = contrast_after + 1
  make_views = confeti_views.Views(
    label=functools.partial(
      self_training.target_view,
      threshold=pseudo_threshold,
      per_pixel=pseudo_weight_per_pixel,
    ),
    margins=dict(ignore_top=ignore_top, ignore_bottom=ignore_bottom),
    mix_per_image_classes=mix_per_image_classes,
    source_augmentation=source_augmentation,
  )
  cross_entropy = functools.partial(
    objectives.cross_entropy, class_weights=class_weights(task, class_weight_power)
  )
  frozen = {"parts": (HEAD,), "frozen": True}
  return Method(
    functools.partial(confeti_views.draw, strength=jitter_strength),
    make_views,
    objectives.chain(
      source=cross_entropy(view="source"),
      source_classes=objectives.image_classes(view="source", head=CAM),
      feature_distance=objectives.feature_distance(
        view="source",
        reference_view="raw",
        num_classes=task.num_classes,
        thing_classes=thing_classes_of(task, thing_classes),
        weight=feature_distance_weight,
      ),
      prototypes=objectives.cam_prototypes(
        view="mixed",
        warmup_view="pasted",
        warmup_end=settled,
        num_classes=task.num_classes,
        dim=embedding_dim,
        terms=contrasts(
          contrast_after, contrast or {}, cut if stage == 1 else None, consistency_weight
        ),
        head=HEAD,
        cam_head=CAM,
        **(prototypes or {}),
      ),
      mixed=cross_entropy(view="mixed"),
      mixed_classes=objectives.image_classes(
        view="mixed", head=CAM, start_step=mixed_cam_after + 1
      ),
    ),
    uses_reference=True,
    heads={
      CAM: functools.partial(CAMHead, task.num_classes),
      HEAD: functools.partial(LinearProjectionHead, embedding_dim),
    },
    calls=lambda phase_start: {"raw": frozen, "translated": frozen, "target": {"parts": (HEAD,)}},
    gates=tuple(sorted({mixed_cam_after + 1, contrast_after, settled})),
    start_steps={f"heads_{HEAD}": contrast_after},
    player=cut.player,
  )


def contrasts(
  start_step: int,
  settings: Mapping[str, Any],
  translator: Translator | None,
  consistency_weight: float,
) -> dict[str, objectives.Objective]:
  """The terms that compare with the prototypes, in the order of the passes.

  Those of the consistency and of target images need the `translator` of stage 1.
  """
  compare = functools.partial(objectives.prototype_contrast, head=HEAD, **settings)
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
