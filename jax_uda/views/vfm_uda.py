"""What the views of VFM-UDA and VFM-UDA++ share: torchvision's augmentation, and labels of a mirrored pair."""

import jax
import jax.numpy as jnp
from flax import struct

from jax_uda.ops.resize import size_of
from jax_uda.step.context import Passes, View, named_key
from jax_uda.step.method import Batch
from jax_uda.views import pseudo_labels, self_training, torchvision_color
from jax_uda.views.torchvision_color import Jitter

# The published jitters of source images, of target images before mixing, and of mixed and masked images.
WEAK = Jitter(brightness=32 / 255, contrast=0.5, saturation=0.5, hue=18 / 360, probability=0.9)
STRONG = Jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.2, probability=0.8)


class JitterBlur(struct.PyTreeNode):
  """Random numbers of a jitter and a blur.

  Attributes:
    jitter: Color jitter.
    blur: Blur.
  """

  jitter: torchvision_color.JitterDraws
  blur: torchvision_color.BlurDraws


def draw_jitter(
  key: jax.Array, name: str, batch: Batch, jitter: Jitter
) -> torchvision_color.JitterDraws:
  """Draws a jitter with the key of `name`."""
  return torchvision_color.draw(named_key(key, name), len(batch["source"]["image"]), jitter)


def draw_blur(
  key: jax.Array, name: str, batch: Batch, probability: float, **options: float
) -> torchvision_color.BlurDraws:
  """Draws a blur with the key of `name`; options as of `torchvision_color.draw_blur`."""
  key = named_key(key, f"blur/{name}")
  return torchvision_color.draw_blur(key, len(batch["source"]["image"]), probability, **options)


def draw_both(
  key: jax.Array, name: str, batch: Batch, jitter: Jitter, probability: float
) -> JitterBlur:
  """Draws a jitter and a blur."""
  return JitterBlur(draw_jitter(key, name, batch, jitter), draw_blur(key, name, batch, probability))


def jittered(view: View, draws: torchvision_color.JitterDraws) -> View:
  """The view with jittered colors."""
  return view.replace(image=torchvision_color.jitter(view.image, draws))


def augmented(view: View, draws: JitterBlur) -> View:
  """The view with jittered colors, then blurred."""
  view = jittered(view, draws.jitter)
  return view.replace(image=torchvision_color.gaussian_blur(view.image, draws.blur))


def source_view(batch: Batch) -> View:
  """The labelled source; pixels without a label weigh 0, also where they are pasted."""
  source = self_training.source_view(batch)
  return source.replace(weight=(source.label != 255).astype(jnp.float32))


def target_view(batch: Batch, teacher: Passes, threshold: float, groups: int = 1) -> View:
  """The target with the labels of the mean probability of each image and its mirror image.

  Args:
    batch: The batch; `batch["target"]["valid"]`, if present, is 0 at pixels whose weight is 0.
    teacher: Looks at the target, then at its mirror image.
    threshold: A pseudo-label is confident if its probability is at least this.
    groups: Parts of the batch with a share of confident pixels of their own.
  """
  image = batch["target"]["image"]
  pseudo = pseudo_labels.of_mirrored_pair(
    teacher("target", image).decoded.logits,
    teacher("mirrored_target", image[:, :, ::-1]).decoded.logits,
    size_of(image),
    threshold=threshold,
    valid=batch["target"].get("valid"),
    groups=groups,
  )
  return View(image, pseudo.label, pseudo.weight)
