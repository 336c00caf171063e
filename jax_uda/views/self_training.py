"""The views that self-training methods share: source, target with pseudo-labels, and their mix.

DACS (Tranheden et al., 2021) with the details of DAFormer's code (Hoyer et al., 2022).
"""

import flax
import jax
import jax.numpy as jnp

from jax_uda.step.context import Passes, View, named_key
from jax_uda.step.method import Batch
from jax_uda.views import classmix, strong
from jax_uda.views.pseudo_labels import pseudo_label


@flax.struct.dataclass
class Draws:
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
  """Draws for one step; `strength` is that of the colour jitter."""
  batch_size = batch["source"]["image"].shape[0]
  return Draws(
    source=strong.draw(named_key(key, "source"), batch_size, strength=strength),
    mixed=strong.draw(named_key(key, "mixed"), batch_size, strength=strength),
    classes=classmix.draw(named_key(key, "classes"), batch_size),
  )


def source_view(batch: Batch) -> View:
  """The labelled source batch as it is."""
  label = batch["source"]["label"].astype(jnp.int32)
  return View(batch["source"]["image"], label, jnp.ones(label.shape, jnp.float32))


def augmented(view: View, draws: strong.StrongDraws) -> View:
  """The view with a strongly augmented image."""
  return view.replace(image=strong.augment(view.image, draws))


def target_view(
  batch: Batch,
  teacher: Passes,
  *,
  threshold: float,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  per_pixel: bool = False,
  align_corners: bool = False,
) -> View:
  """The target batch with the teacher's pseudo-labels, see `pseudo_label`.

  `batch["target"]["valid"]`, if there, marks with 0 the pixels whose weight is 0 (margins).
  """
  image = batch["target"]["image"]
  found = pseudo_label(
    teacher("target", image).logits,
    image.shape[1:3],
    threshold=threshold,
    ignore_top=ignore_top,
    ignore_bottom=ignore_bottom,
    valid=batch["target"].get("valid"),
    per_pixel=per_pixel,
    align_corners=align_corners,
  )
  return View(image, found.label, found.weight)


def mixed_view(source: View, target: View, priority: jax.Array, *, per_image: bool = False) -> View:
  """ClassMix: half of the source classes pasted onto the target, with labels and weights.

  Args:
    source: The labelled view; its weights are 1, also where the label is ignored.
    target: The pseudo-labelled view.
    priority: [B, 256] from `classmix.draw`.
    per_image: Choose among the classes of each image instead of those of the batch. The reference
      code chooses among the batch's, so that an image may get fewer classes pasted, or none.
  """
  present = classmix.present_classes(source.label, per_image=per_image)
  mask = classmix.mask(source.label, classmix.choose(present, priority))
  return jax.tree.map(lambda s, t: classmix.mix(mask, s, t), source, target)
