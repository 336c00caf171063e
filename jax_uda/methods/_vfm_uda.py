"""VFM-UDA (Englert et al., CVPR Workshops 2024): self-training of a DINOv2 ViT, with hidden tokens.

One step: cross-entropy on the source, on the ClassMix image, and on target images of which the encoder
sees three tokens in ten. Pseudo-labels average an image and its mirror image. Schedule, teacher (it
follows after the update, `config.ema`) and margins (`config.data.target_margins`) are settings of
the recipe. Extra cost beside DACS: one teacher and one student pass of the target.
"""

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda import objectives
from jax_uda.ops import resize
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Pass, Passes, View, named_key
from jax_uda.step.method import Batch, Method, Task, ViewMaker
from jax_uda.views import classmix, pseudo_labels, self_training, torchvision_color
from jax_uda.views.torchvision_color import Jitter

# The published jitters.
WEAK = Jitter(brightness=32 / 255, contrast=0.5, saturation=0.5, hue=18 / 360, probability=0.9)
STRONG = Jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2, probability=0.8)


class Draws(struct.PyTreeNode):
  """Every random number of a step.

  Attributes:
    classes: [B, 256] priorities of ClassMix.
    weak_source: Weak color jitter of the source images, for the loss on the source alone.
    weak_target: Weak color jitter of the target images before mixing.
    mixed: Strong color jitter of the mixed images.
    mixed_blur: Blur of the mixed images.
    masked: Strong color jitter of the images whose tokens are hidden.
    masked_blur: Blur of those images.
  """

  classes: jax.Array
  weak_source: torchvision_color.JitterDraws
  weak_target: torchvision_color.JitterDraws
  mixed: torchvision_color.JitterDraws
  mixed_blur: torchvision_color.BlurDraws
  masked: torchvision_color.JitterDraws
  masked_blur: torchvision_color.BlurDraws


def jittered(view: View, draws: torchvision_color.JitterDraws) -> View:
  """The view with jittered colors."""
  return view.replace(image=torchvision_color.jitter(view.image, draws))


def augmented(
  view: View, draws: torchvision_color.JitterDraws, blur: torchvision_color.BlurDraws
) -> View:
  """The view with jittered colors, then blurred."""
  view = jittered(view, draws)
  return view.replace(image=torchvision_color.gaussian_blur(view.image, blur))


def vfm_uda(
  task: Task,
  *,
  pseudo_threshold: float = 0.968,
  mask_ratio: float = 0.7,
  weak: Jitter = WEAK,
  strong: Jitter = STRONG,
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
    batch_size = batch["source"]["image"].shape[0]
    jitter = lambda name, how: torchvision_color.draw(named_key(key, name), batch_size, how)
    blur = lambda name: torchvision_color.draw_blur(
      named_key(key, f"blur/{name}"), batch_size, blur_probability
    )
    return Draws(
      classes=classmix.draw(named_key(key, "classes"), batch_size),
      weak_source=jitter("weak/source", weak),
      weak_target=jitter("weak/target", weak),
      mixed=jitter("mixed", strong),
      mixed_blur=blur("mixed"),
      masked=jitter("masked", strong),
      masked_blur=blur("masked"),
    )

  def target_view(batch: Batch, teacher: Passes) -> View:
    """The target with the labels of the mean probability of each image and its mirror image."""
    image = batch["target"]["image"]
    softmax = lambda name, x: jax.nn.softmax(
      resize.bilinear(teacher(name, x).decoded.logits, size_of(x))
    )
    mirrored = softmax("mirrored_target", image[:, :, ::-1])[:, :, ::-1]
    probability = (softmax("target", image) + mirrored) / 2
    pseudo = pseudo_labels.weigh(
      jnp.argmax(probability, -1),
      jnp.max(probability, -1),
      threshold=pseudo_threshold,
      valid=batch["target"].get("valid"),
    )
    return View(image, pseudo.label, pseudo.weight)

  def make(draws: Draws, batch: Batch, teacher: Passes, views) -> dict[str, View]:
    del views
    source = self_training.source_view(batch)
    source = source.replace(weight=(source.label != 255).astype(jnp.float32))
    target = target_view(batch, teacher)
    mixed = self_training.mixed_view(source, jittered(target, draws.weak_target), draws.classes)
    return {
      "source": jittered(source, draws.weak_source),
      "target": target,
      "mixed": augmented(mixed, draws.mixed, draws.mixed_blur),
      "masked": augmented(target, draws.masked, draws.masked_blur),
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
