"""SePiCo's views: crops of the target rich in classes, labelled with the help of images at day."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda.common.registry import SettingError
from jax_uda.ops import resize
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Passes, View, named_key
from jax_uda.step.method import Batch, ViewMaker
from jax_uda.views import balanced_crop, day_night, pseudo_labels, self_training, strong
from jax_uda.views.self_training import SelfTraining

# The teacher's passes of the target; those with `_day` with `day_night_fusion` only.
TEACHER_VIEWS = ("target", "target_day", "whole_target", "whole_target_day")


class Draws(struct.PyTreeNode):
  """Every random number of SePiCo's views.

  Attributes:
    base: Random numbers of self-training.
    target: Strong augmentation of the target crop for its contrast.
    offsets: [B, candidates, 2] int32 top left corners (y, x) of crops of the target.
  """

  base: self_training.Draws
  target: strong.StrongDraws
  offsets: jax.Array


@dataclasses.dataclass(frozen=True)
class TargetCrop:
  """How the target crop is chosen and labelled.

  Attributes:
    num_classes: Number of classes, C.
    class_weights: [C] factors of the fused probabilities, or None.
    crop: If true, batches hold whole target images: the teacher labels the whole image, the most
      class-diverse of several random crops is kept, and that crop is labelled again.
    candidates: Number of random crops of which one is kept.
    max_class_ratio: See `balanced_crop.crop_scores`.
    day_night_fusion: Whether the target batch brings `day_image`, whose predictions help.
  """

  num_classes: int
  class_weights: jax.Array | None
  crop: bool
  candidates: int
  max_class_ratio: float
  day_night_fusion: bool

  def draw(self, key: jax.Array, batch: Batch) -> jax.Array:
    """[B, candidates, 2] int32 top left corners (y, x)."""
    source = batch["source"]["image"]
    whole = size_of(batch["target"]["image"])
    draw_one = lambda key: balanced_crop.candidate_offsets(
      key, whole, size_of(source), self.candidates
    )
    return jax.vmap(draw_one)(jax.random.split(key, len(source)))

  def view(self, batch: Batch, teacher: Passes, offsets: jax.Array, settings: SelfTraining) -> View:
    """The target view, of the size of source images, with pseudo-labels and their weights.

    Args:
      batch: The batch; of `target` it reads `image`, `day_image` and `valid`.
      teacher: From a view's name and image [B,H,W,3] to `Outputs`.
      offsets: [B, candidates, 2] int32 top left corners (y, x) to choose from.
      settings: Threshold, margins and resizing of pseudo-labels.

    Raises:
      SettingError: Images at day are missing.
    """
    target, size = batch["target"], size_of(batch["source"]["image"])
    if self.day_night_fusion and "day_image" not in target:
      raise SettingError(
        "method.day_night_fusion",
        "= True needs images of the same places at day: config.data.target.day_images = True, of "
        "dark_zurich.",
      )
    image, day = target["image"], target["day_image"] if self.day_night_fusion else None
    valid = target.get("valid")
    if self.crop:
      label, _ = self._predict(teacher, "whole_target", image, day, settings.align_corners)
      offset = self._most_diverse(label, offsets, size)
      crop = jax.vmap(functools.partial(balanced_crop.crop, size=size))
      image = crop(image, offset)
      day, valid = (None if x is None else crop(x, offset) for x in (day, valid))
    label, confidence = self._predict(teacher, "target", image, day, settings.align_corners)
    pseudo = pseudo_labels.weigh(
      label,
      confidence,
      threshold=settings.pseudo_threshold,
      ignore_top=settings.ignore_top,
      ignore_bottom=settings.ignore_bottom,
      valid=valid,
      per_pixel=settings.pseudo_weight_per_pixel,
    )
    return View(image, pseudo.label, pseudo.weight)

  def _predict(
    self, teacher: Passes, name: str, image, day, align_corners: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Labels and their confidence, both [B,H,W]."""
    softmax = lambda name, x: jax.nn.softmax(
      resize.bilinear(teacher(name, x).decoded.logits, size_of(x), align_corners)
    )
    probability = softmax(name, image)
    if self.day_night_fusion:
      at_day = softmax(f"{name}_day", day)
      probability = day_night.fuse_day_night(at_day, probability, class_weights=self.class_weights)
    return jnp.argmax(probability, -1).astype(jnp.int32), jnp.max(probability, -1)

  def _most_diverse(self, label: jax.Array, offsets: jax.Array, size) -> jax.Array:
    """The candidate with the highest score, per image: [B,K,2] -> [B,2]."""
    score = functools.partial(
      balanced_crop.crop_scores,
      size=size,
      num_classes=self.num_classes,
      max_class_ratio=self.max_class_ratio,
    )
    best = jnp.argmax(jax.vmap(score)(label, offsets), -1)[:, None, None]
    return jnp.take_along_axis(offsets, best, 1)[:, 0]


def views(settings: SelfTraining, target: TargetCrop) -> ViewMaker:
  """Makes `weak` (the source without augmentation), `source`, `target` and `mixed`, all augmented."""

  def draw(key: jax.Array, batch: Batch) -> Draws:
    strength, batch_size = settings.jitter_strength, batch["source"]["image"].shape[0]
    base = self_training.draw(key, batch, strength=strength)
    augmentation = strong.draw(named_key(key, "target"), batch_size, strength=strength)
    gates = dict(jitter_gate=base.mixed.jitter_gate, blur_gate=base.mixed.blur_gate)
    shared = lambda draws: strong.share_across_batch(draws).replace(**gates)
    base = base.replace(source=shared(base.source))
    return Draws(base, shared(augmentation), target.draw(named_key(key, "offsets"), batch))

  def make(draws: Draws, batch: Batch, teacher: Passes, views) -> dict[str, View]:
    del views
    weak = self_training.source_view(batch)
    pseudo = target.view(batch, teacher, draws.offsets, settings)
    mixed = self_training.mixed_view(
      weak, pseudo, draws.base.classes, per_image=settings.mix_per_image_classes
    )
    return {
      "weak": weak,
      "source": self_training.augmented(weak, draws.base.source),
      "target": self_training.augmented(pseudo, draws.target),
      "mixed": self_training.augmented(mixed, draws.base.mixed),
    }

  return ViewMaker(make, draw)
