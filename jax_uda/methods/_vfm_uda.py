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
from jax_uda.views import color, pseudo_labels, self_training, strong


class Draws(struct.PyTreeNode):
  """Every random number of a step.

  Attributes:
    base: Random numbers of self-training.
    masked: Strong augmentation of the images whose tokens are hidden.
    source: Weak color jitter of the source images.
    target: Weak color jitter of the target images.
  """

  base: self_training.Draws
  masked: strong.StrongDraws
  source: color.ColorDraws
  target: color.ColorDraws


def vfm_uda(
  task: Task,
  *,
  pseudo_threshold: float = 0.968,
  mask_ratio: float = 0.7,
  jitter_strength: float = 0.2,
  weak_strength: float = 0.1,
) -> Method:
  """VFM-UDA. The encoder must hide tokens: one of the `dinov2_…`.

  The reference's strong augmentation has the color jitter of torchvision, with gates per image; ours
  is the jitter of the DACS family, with gates per batch, as for all methods here.

  Args:
    task: Not used; every method takes it.
    pseudo_threshold: A pseudo-label is confident if its probability is at least this.
    mask_ratio: Share of the tokens that the third loss hides.
    jitter_strength: Largest relative change of the color jitter of mixed and masked images.
    weak_strength: Largest relative change of the jitter of source images, and of target images
      before mixing. (The number is ours.)
  """
  del task

  def draw(key: jax.Array, batch: Batch) -> Draws:
    batch_size = batch["source"]["image"].shape[0]
    weak = lambda name: color.draw(named_key(key, f"weak/{name}"), batch_size, weak_strength)
    return Draws(
      base=self_training.draw(key, batch, strength=jitter_strength),
      masked=strong.draw(named_key(key, "masked"), batch_size, strength=jitter_strength),
      source=weak("source"),
      target=weak("target"),
    )

  def jittered(view: View, draws: color.ColorDraws) -> View:
    return view.replace(image=color.jitter(view.image, draws))

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
    source = jittered(self_training.source_view(batch), draws.source)
    source = source.replace(weight=(source.label != 255).astype(jnp.float32))
    target = target_view(batch, teacher)
    mixed = self_training.mixed_view(source, jittered(target, draws.target), draws.base.classes)
    return {
      "source": source,
      "target": target,
      "mixed": self_training.augmented(mixed, draws.base.mixed),
      "masked": self_training.augmented(target, draws.masked),
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
