"""SePiCo's target view: crops rich in classes, and labels that images of the same place at day help with."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from jax_uda.ops import resize
from jax_uda.step.context import View
from jax_uda.step.method import Batch, Task
from jax_uda.views import balanced_crop, day_night

# The teacher sees these views; those with `_day` with `day_night_fusion` only.
VIEWS = ("target", "target_day", "whole_target", "whole_target_day")


@dataclasses.dataclass(frozen=True)
class TargetView:
  """Makes the target view, pseudo-labels and their weight included.

  Attributes:
    task: The number of classes.
    class_weights: [C] on the fused probabilities, or None.
    crop: Whether whole images come, of which the most varied of several crops is taken by the
      teacher's labels of the whole, and labelled again by itself.
    max_class_ratio: See `balanced_crop.crop_scores`.
    day_night_fusion: The target batch brings `day_image`, whose predictions help.
    weigh: `pseudo_label.weigh` with its settings.
  """

  task: Task
  class_weights: jax.Array | None
  crop: bool
  max_class_ratio: float
  day_night_fusion: bool
  weigh: functools.partial

  def __call__(self, batch: Batch, teacher, offsets: jax.Array, size: tuple[int, int]) -> View:
    """The view of `size`.

    Args:
      batch: Of which `target` is used.
      teacher: From a view's name and image [B,H,W,3] to `Outputs`.
      offsets: [B, candidates, 2] int32 top left corners (y, x) to choose from.
      size: Height and width.

    Raises:
      ValueError: Images at day are missing.
    """
    if self.day_night_fusion and "day_image" not in batch["target"]:
      raise ValueError(
        "config.method.day_night_fusion = True needs images of the same places at day: "
        "config.data.target.day_images = True, of dark_zurich."
      )
    image = batch["target"]["image"]
    day = batch["target"]["day_image"] if self.day_night_fusion else None
    valid = batch["target"].get("valid")
    if self.crop:
      label, _ = self._predict(teacher, "whole_target", image, day)
      offset = self._most_varied(label, offsets, size)
      crop = jax.vmap(functools.partial(balanced_crop.crop, size=size))
      image, day, valid = (None if x is None else crop(x, offset) for x in (image, day, valid))
    label, confidence = self._predict(teacher, "target", image, day)
    found = self.weigh(label, confidence, valid=valid)
    return View(image, found.label, found.weight)

  def _predict(self, teacher, name: str, image, day) -> tuple[jax.Array, jax.Array]:
    """Labels and their confidence, both [B,H,W]."""
    probability = lambda name, x: jax.nn.softmax(
      resize.bilinear(teacher(name, x).logits, x.shape[1:3])
    )
    found = probability(name, image)
    if self.day_night_fusion:
      at_day = probability(f"{name}_day", day)
      found = day_night.fuse_day_night(at_day, found, class_weights=self.class_weights)
    return jnp.argmax(found, -1).astype(jnp.int32), jnp.max(found, -1)

  def _most_varied(self, label: jax.Array, offsets: jax.Array, size) -> jax.Array:
    """Of each image's candidates [B,K,2] that with the highest score [B,2]."""
    score = functools.partial(
      balanced_crop.crop_scores,
      size=size,
      num_classes=self.task.num_classes,
      max_class_ratio=self.max_class_ratio,
    )
    best = jnp.argmax(jax.vmap(score)(label, offsets), -1)[:, None, None]
    return jnp.take_along_axis(offsets, best, 1)[:, 0]
