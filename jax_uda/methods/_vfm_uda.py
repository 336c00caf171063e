"""VFM-UDA (Englert et al., CVPR Workshops 2024): self-training of a DINOv2 ViT, with hidden tokens.

One step: cross-entropy on the source, on the ClassMix image, and on target images of which the encoder
sees three tokens in ten. Pseudo-labels average an image and its mirror image. Schedule, teacher (it
follows after the update, `config.ema`) and margins (`config.data.target_margins`) are settings of
the recipe. Extra cost beside DACS: one teacher and one student pass of the target.
"""

import jax
from flax import struct

from jax_uda import objectives
from jax_uda.step.context import Pass, Passes, View, named_key
from jax_uda.step.method import Batch, Method, Task, ViewMaker
from jax_uda.views import classmix, self_training, torchvision_color
from jax_uda.views import vfm_uda as shared
from jax_uda.views.torchvision_color import Jitter


class Draws(struct.PyTreeNode):
  """Every random number of a step.

  Attributes:
    classes: [B, 256] priorities of ClassMix.
    weak_source: Weak color jitter of the source images, for the loss on the source alone.
    weak_target: Weak color jitter of the target images before mixing.
    mixed: Strong color jitter of the mixed images, and their blur.
    masked: Strong color jitter of the images whose tokens are hidden, and their blur.
  """

  classes: jax.Array
  weak_source: torchvision_color.JitterDraws
  weak_target: torchvision_color.JitterDraws
  mixed: shared.JitterBlur
  masked: shared.JitterBlur


def vfm_uda(
  task: Task,
  *,
  pseudo_threshold: float = 0.968,
  mask_ratio: float = 0.7,
  weak: Jitter = shared.WEAK,
  strong: Jitter = shared.STRONG,
  blur_probability: float = 0.5,
) -> Method:
  """VFM-UDA. The encoder must hide tokens: one of the `dinov2_…`.

  Args:
    task: Not used; every method takes it.
    pseudo_threshold: A pseudo-label is confident if its probability is at least this.
    mask_ratio: Share of the tokens that the third loss hides.
    weak: Color jitter of source images, and of target images before mixing. The source part of mixed
      images is not jittered.
    strong: Color jitter of mixed and masked images.
    blur_probability: Share of the mixed and masked images that are blurred.
  """
  del task

  def draw(key: jax.Array, batch: Batch) -> Draws:
    return Draws(
      classes=classmix.draw(named_key(key, "classes"), batch["source"]["image"].shape[0]),
      weak_source=shared.draw_jitter(key, "weak/source", batch, weak),
      weak_target=shared.draw_jitter(key, "weak/target", batch, weak),
      mixed=shared.draw_both(key, "mixed", batch, strong, blur_probability),
      masked=shared.draw_both(key, "masked", batch, strong, blur_probability),
    )

  def make(draws: Draws, batch: Batch, teacher: Passes, views) -> dict[str, View]:
    del views
    source = shared.source_view(batch)
    target = shared.target_view(batch, teacher, pseudo_threshold)
    weak_target = shared.jittered(target, draws.weak_target)
    mixed = self_training.mixed_view(source, weak_target, draws.classes)
    return {
      "source": shared.jittered(source, draws.weak_source),
      "target": target,
      "mixed": shared.augmented(mixed, draws.mixed),
      "masked": shared.augmented(target, draws.masked),
    }

  return Method(
    views={"vfm_uda": ViewMaker(make, draw)},
    terms={
      "source": objectives.cross_entropy(view="source", denominator="valid"),
      "mixed": objectives.cross_entropy(view="mixed"),
      "masked": objectives.cross_entropy(view="masked"),
    },
    passes=lambda phase: {"masked": Pass(inputs={"mask_ratio": mask_ratio})},
  )
