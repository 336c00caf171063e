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

import flax
import jax
import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.context import named_key
from jax_uda.methods import self_training
from jax_uda.methods.base import Batch, Method, Task, class_weights
from jax_uda.methods.daformer import thing_classes_of
from jax_uda.methods.translator import Translator
from jax_uda.models.cam_head import CAMHead
from jax_uda.models.projection_heads import LinearProjectionHead
from jax_uda.optimizer import NEVER

CAM, HEAD = "cam", "projection"


@flax.struct.dataclass
class Draws:
  """Every random number of a step.

  Attributes:
    base: Those of self-training.
    rows: By view, [B, H, W] uniform numbers that choose the pixels of its contrast.
  """

  base: self_training.Draws
  rows: dict[str, jax.Array]


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
    task,
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
  joint, settled = stage == 1, contrast_after + 1

  def draw(key: jax.Array, batch: Batch) -> Draws:
    uniforms = lambda view: jax.random.uniform(
      named_key(key, f"rows/{view}"), batch["source"]["label"].shape
    )
    rows = {view: uniforms(view) for view in ("source", "mixed", "target")}
    return Draws(self_training.draw(key, batch, strength=jitter_strength), rows)

  def views(draws: Draws, batch: Batch, teacher):
    source = self_training.source_view(batch, task)
    label = functools.partial(
      self_training.target_view,
      batch,
      teacher,
      task,
      threshold=pseudo_threshold,
      per_pixel=pseudo_weight_per_pixel,
    )
    target = label(ignore_top=ignore_top, ignore_bottom=ignore_bottom)
    mix = lambda target: self_training.mixed_view(
      source, target, draws.base.classes, per_image=mix_per_image_classes
    )
    mixed = self_training.augmented(mix(target), draws.base.mixed, task)
    pasted = mix(target.replace(label=jnp.full_like(target.label, 255)))
    look = draws.base.source
    return {
      "source": self_training.augmented(source, look, task) if source_augmentation else source,
      "raw": source.replace(image=batch["source"]["raw"]),
      "translated": source,
      "mixed": mixed,
      "pasted": mixed.replace(label=pasted.label),
      "target": label(),  # its contrast knows no margins
    }

  weights = class_weights(task, class_weight_power)
  cross_entropy = functools.partial(objectives.cross_entropy, class_weights=weights)
  compare = functools.partial(objectives.prototype_contrast, head=HEAD, **(contrast or {}))
  # The order of the terms is that of the passes: source, raw, translated, mixed, target.
  terms = {"source": compare(view="source", start_step=settled)}
  if joint:
    terms["consistency"] = objectives.translation_consistency(
      view="raw",
      translated_view="translated",
      translate=cut.translate,
      regress=cut.regress,
      head=HEAD,
      weight=consistency_weight,
    )
  terms["mixed"] = compare(view="mixed", start_step=contrast_after)
  if joint:
    terms["target"] = compare(view="target", start_step=settled, weigh=True)
  frozen = {"parts": (HEAD,), "frozen": True}
  return Method(
    draw,
    views,
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
        terms=terms,
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
