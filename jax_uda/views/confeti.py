"""CONFETI's views of a batch whose source images are translated already."""

import jax.numpy as jnp

from jax_uda.step.context import Passes, View
from jax_uda.step.method import Batch, ViewMaker
from jax_uda.views import self_training
from jax_uda.views.self_training import SelfTraining


def views(settings: SelfTraining) -> ViewMaker:
  """Makes CONFETI's views.

  `source` and `translated` are the translated source, `raw` is the source before its translation,
  `mixed` is the augmented mix, `pasted` the same image with labels of its source part only, and
  `target` is the target without margins.
  """

  def make(draws: self_training.Draws, batch: Batch, teacher: Passes, views) -> dict[str, View]:
    del views
    source = self_training.source_view(batch)
    target = self_training.target_view(batch, teacher, settings)
    mix = lambda target: self_training.mixed_view(
      source, target, draws.classes, per_image=settings.mix_per_image_classes
    )
    mixed = self_training.augmented(mix(target), draws.mixed)
    pasted = mix(target.replace(label=jnp.full_like(target.label, 255)))
    augmented = self_training.augmented(source, draws.source)
    return {
      "source": augmented if settings.source_augmentation else source,
      "raw": source.replace(image=batch["source"]["raw"]),
      "translated": source,
      "mixed": mixed,
      "pasted": mixed.replace(label=pasted.label),
      # Its contrast knows no margins.
      "target": self_training.target_view(batch, teacher, settings, margins=False),
    }

  draw = lambda key, batch: self_training.draw(key, batch, strength=settings.jitter_strength)
  return ViewMaker(make, draw)
