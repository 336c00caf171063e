"""The views that self-training methods share: source, target with pseudo-labels, and their mix.

DACS (Tranheden et al., 2021) with the details of DAFormer's code (Hoyer et al., 2022).
"""

import dataclasses

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda.ops.resize import size_of
from jax_uda.step.context import Passes, View, named_key
from jax_uda.step.method import Batch, ViewMaker
from jax_uda.step.objective import split_groups
from jax_uda.views import classmix, color, strong
from jax_uda.views.pseudo_labels import pseudo_label


@dataclasses.dataclass(frozen=True)
class SelfTraining:
  """Settings of self-training on ClassMix images; the defaults are those of DAFormer's code.

  Attributes:
    pseudo_threshold: A pseudo-label is confident if its probability is at least this.
    pseudo_weight_per_pixel: Whether only confident pixels count; else all pixels count, weighted by
      the confident fraction of the batch (the reference).
    ignore_top: Number of rows at the top of target crops whose pseudo-labels weigh 0 (Cityscapes: 15).
    ignore_bottom: Number of rows at the bottom whose pseudo-labels weigh 0 (Cityscapes: 120).
    mix_per_image_classes: Whether ClassMix chooses among the classes of each image; else among those
      of the batch (the reference), so that an image may get fewer classes pasted, or none.
    source_augmentation: Whether the source images get the strong augmentation, too; the reference
      leaves them as they are.
    jitter_strength: Largest relative change of the color jitter.
    class_weight_power: Each pixel weighs `(source frequency of its class) ** -power`; 0 = equally.
    align_corners: Corner alignment when logits are resized to labels, also for pseudo-labels.
  """

  pseudo_threshold: float = 0.968
  pseudo_weight_per_pixel: bool = False
  ignore_top: int = 0
  ignore_bottom: int = 0
  mix_per_image_classes: bool = False
  source_augmentation: bool = False
  jitter_strength: float = 0.2
  class_weight_power: float = 0.0
  align_corners: bool = False


class Draws(struct.PyTreeNode):
  """Every random number of a self-training step.

  Attributes:
    source: Strong augmentation of the source images.
    mixed: Strong augmentation of the mixed images.
    classes: [B, 256] priorities of ClassMix.
  """

  source: strong.StrongDraws
  mixed: strong.StrongDraws
  classes: jax.Array


def draw(key: jax.Array, batch: Batch, *, strength: float) -> Draws:
  """Draws for one step; `strength` is the largest relative change of the color jitter."""
  batch_size = batch["source"]["image"].shape[0]
  return Draws(
    source=strong.draw(named_key(key, "source"), batch_size, strength=strength),
    mixed=strong.draw(named_key(key, "mixed"), batch_size, strength=strength),
    classes=classmix.draw(named_key(key, "classes"), batch_size),
  )


def source_view(batch: Batch) -> View:
  """The labelled source batch without augmentation."""
  label = batch["source"]["label"].astype(jnp.int32)
  return View(batch["source"]["image"], label, jnp.ones(label.shape, jnp.float32))


def augmented(view: View, draws: strong.StrongDraws, jitter: color.Jitter = color.jitter) -> View:
  """The view with a strongly augmented image."""
  return view.replace(image=strong.augment(view.image, draws, jitter))


def target_view(
  batch: Batch, teacher: Passes, settings: SelfTraining, *, margins: bool = True
) -> View:
  """The target batch with the teacher's pseudo-labels (`pseudo_label`).

  Args:
    batch: The batch; `batch["target"]["valid"]`, if present, is 0 at pixels whose weight is 0.
    teacher: Labels the target.
    settings: Threshold, margins and resizing.
    margins: Whether `ignore_top` and `ignore_bottom` apply.
  """
  image = batch["target"]["image"]
  pseudo = pseudo_label(
    teacher("target", image).decoded.logits,
    size_of(image),
    threshold=settings.pseudo_threshold,
    ignore_top=settings.ignore_top if margins else 0,
    ignore_bottom=settings.ignore_bottom if margins else 0,
    valid=batch["target"].get("valid"),
    per_pixel=settings.pseudo_weight_per_pixel,
    align_corners=settings.align_corners,
  )
  return View(image, pseudo.label, pseudo.weight)


def mixed_view(
  source: View,
  target: View,
  priority: jax.Array,
  *,
  per_image: bool = False,
  groups: int = 1,
) -> View:
  """ClassMix: half of the source classes pasted onto the target, with labels and weights.

  Args:
    source: The labelled view; its weights are 1, also where the label is ignored.
    target: The pseudo-labelled view.
    priority: [B, 256] from `classmix.draw`.
    per_image: Whether to choose among the classes of each image instead of those of the batch.
    groups: Splits the batch into so many parts and chooses among the classes of an image's part.
  """
  present = classmix.present_classes(source.label, per_image=per_image or groups > 1)
  if groups > 1 and not per_image:
    of_group = jnp.any(split_groups(present, groups), 1)
    present = jnp.repeat(of_group, len(present) // groups, axis=0)
  mask = classmix.mask(source.label, classmix.choose(present, priority))
  return jax.tree.map(lambda s, t: classmix.mix(mask, s, t), source, target)


def views(settings: SelfTraining) -> ViewMaker:
  """Makes the views `source`, `target` (not augmented) and `mixed` (augmented)."""

  def make(draws: Draws, batch: Batch, teacher: Passes, views: dict[str, View]) -> dict[str, View]:
    del views
    source = source_view(batch)
    target = target_view(batch, teacher, settings)
    mixed = mixed_view(source, target, draws.classes, per_image=settings.mix_per_image_classes)
    if settings.source_augmentation:
      source = augmented(source, draws.source)
    return {"source": source, "target": target, "mixed": augmented(mixed, draws.mixed)}

  return ViewMaker(make, lambda key, batch: draw(key, batch, strength=settings.jitter_strength))
