"""SePiCo (Xie et al., TPAMI 2023): self-training, and pixels contrasted with what a class looks like.

One step, beside the source and mixed cross-entropies of DACS: the teacher embeds the source without
augmentation, its labels sort the embeddings into class statistics; the student's source and target
embeddings are contrasted with those. The target crop is the most varied of ten, by the teacher's labels
of the whole image, and is labelled again by itself.

Extra cost: one teacher encoder pass of the source, one of the whole target, and from `start_step` on one
student encoder pass of the target.
"""

import functools
from typing import Any, Literal

import flax
import jax
import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.methods.requirements import class_weights as frequency_weights
from jax_uda.models.heads.projection import ProjectionHead
from jax_uda.step.context import View, named_key
from jax_uda.step.method import Batch, Method, Task
from jax_uda.views import balanced_crop, pseudo_labels, self_training, sepico_target, strong

HEAD = "projection"


@flax.struct.dataclass
class Draws:
  """Every random number of a step.

  Attributes:
    base: Those of self-training.
    target: Strong augmentation of the target crop for its contrast.
    offsets: [B, candidates, 2] int32 top left corners (y, x) of crops of the target.
  """

  base: self_training.Draws
  target: strong.StrongDraws
  offsets: jax.Array


def sepico(
  task: Task,
  *,
  variant: Literal["prototype", "distribution", "bank"] = "distribution",
  start_step: int = 3000,
  crop_target: bool = True,
  crop_candidates: int = 10,
  max_class_ratio: float = 0.75,
  pseudo_threshold: float = 0.968,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  jitter_strength: float = 0.2,
  day_night_fusion: bool = False,
  class_weights: jax.Array | None = None,
  class_weight_power: float = 0.0,
  pseudo_weight_per_pixel: bool = False,
  mix_per_image_classes: bool = False,
  embedding_dim: int = 512,
  head_options: dict[str, Any] | None = None,
  **contrast: Any,
) -> Method:
  """SePiCo with prototypes, distributions or banks.

  Args:
    task: The classes and the standardisation.
    variant: What stands for a class; ProtoCL, DistCL and BankCL of the paper.
    start_step: The contrast starts here, and the projection head is untouched before; the statistics
      are collected from step 0.
    crop_target: Class-balanced crops of whole target images (`config.data.crop_target = False`).
    crop_candidates: Of how many random crops the most varied is taken.
    max_class_ratio: See `balanced_crop.crop_scores`.
    pseudo_threshold: As in `dacs`; so are `ignore_top`, `ignore_bottom` (rows of the *crop*) and
      `jitter_strength`.
    ignore_top: See there.
    ignore_bottom: See there.
    jitter_strength: See there.
    day_night_fusion: The target batch brings `day_image`, whose predictions help (Dark Zurich).
    class_weights: [C] on all cross-entropies and, with `day_night_fusion`, on the fused
      probabilities (`day_night.frequency_weights`); None = by `class_weight_power`.
    class_weight_power: As in `dacs`; so are `pseudo_weight_per_pixel` and `mix_per_image_classes`.
    pseudo_weight_per_pixel: See there.
    mix_per_image_classes: See there.
    embedding_dim: A.
    head_options: Of the projection head.
    **contrast: See `objectives.class_contrast`.

  Raises:
    TypeError: A setting is unknown.
  """
  weights = frequency_weights(task, class_weight_power)
  if class_weights is not None:
    weights = jnp.asarray(class_weights, jnp.float32)

  target_view = sepico_target.TargetView(
    task,
    class_weights=weights,
    crop=crop_target,
    max_class_ratio=max_class_ratio,
    day_night_fusion=day_night_fusion,
    weigh=functools.partial(
      pseudo_labels.weigh,
      threshold=pseudo_threshold,
      ignore_top=ignore_top,
      ignore_bottom=ignore_bottom,
      per_pixel=pseudo_weight_per_pixel,
    ),
  )

  def draw(key, batch: Batch) -> Draws:
    base = self_training.draw(key, batch, strength=jitter_strength)
    batch_size, *size = batch["source"]["image"].shape[:3]
    target = strong.draw(named_key(key, "target"), batch_size, strength=jitter_strength)
    whole = batch["target"]["image"].shape[1:3]
    offsets = jax.vmap(
      lambda k: balanced_crop.candidate_offsets(k, whole, tuple(size), crop_candidates)
    )(jax.random.split(named_key(key, "offsets"), batch_size))
    gates = dict(jitter_gate=base.mixed.jitter_gate, blur_gate=base.mixed.blur_gate)
    base = base.replace(source=strong.share_across_batch(base.source).replace(**gates))
    return Draws(base, strong.share_across_batch(target).replace(**gates), offsets)

  def views(draws: Draws, batch: Batch, teacher) -> dict[str, View]:
    weak = self_training.source_view(batch)
    target = target_view(batch, teacher, draws.offsets, weak.image.shape[1:3])
    mixed = self_training.mixed_view(
      weak, target, draws.base.classes, per_image=mix_per_image_classes
    )
    return {
      "weak": weak,
      "source": self_training.augmented(weak, draws.base.source),
      "target": self_training.augmented(target, draws.target),
      "mixed": self_training.augmented(mixed, draws.base.mixed),
    }

  # The order of the terms is that of the passes through BatchNorm: source, target, mixed.
  terms = {
    "source": objectives.cross_entropy(view="source", class_weights=weights),
    "contrast": objectives.class_contrast(
      views=("source", "target"),
      statistics_view="weak",
      variant=variant,
      num_classes=task.num_classes,
      dim=embedding_dim,
      head=HEAD,
      start_step=start_step,
      **contrast,
    ),
    "mixed": objectives.cross_entropy(view="mixed", class_weights=weights),
  }
  return Method(
    draw,
    views,
    objectives.chain(**terms),
    heads={HEAD: functools.partial(ProjectionHead, dim=embedding_dim, **(head_options or {}))},
    calls=lambda phase_start: {
      "source": {"parts": ("decoder", HEAD) if phase_start >= start_step else ("decoder",)},
      "target": {"parts": (HEAD,)},
      "mixed": {"parts": ("decoder",)},
    },
    teacher_parts={"weak": (HEAD,), **dict.fromkeys(sepico_target.VIEWS, ("decoder",))},
    gates=(start_step,),
    start_steps={f"heads_{HEAD}": start_step},
  )
