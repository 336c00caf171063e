"""CONFETI's views of a batch whose source images are translated already."""

import functools
from typing import Literal

import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.step.context import Passes, View
from jax_uda.step.method import Batch, ViewMaker
from jax_uda.views import color, self_training, torchvision_color
from jax_uda.views.self_training import SelfTraining

Jitter = Literal["kornia058", "kornia067"]
# The color jitter of two versions of kornia, which differ: the older one adds brightness.
JITTERS = {
  "kornia058": color.jitter,
  "kornia067": functools.partial(
    torchvision_color.changed, grey_weights=torchvision_color.KORNIA_GREY
  ),
}


def views(settings: SelfTraining) -> ViewMaker:
  """Makes the views of the two-stage form, CONFETI.

  They are those of `one_stage_views`, and more: `translated` is the translated source as it is, `pasted`
  the mixed image with labels of its source part only. `target` has no margins.
  """

  def make(draws: self_training.Draws, batch: Batch, teacher: Passes, views) -> dict[str, View]:
    del views
    source = self_training.source_view(batch)
    target = self_training.target_view(batch, teacher, settings)
    unlabelled = target.replace(label=jnp.full_like(target.label, 255))
    common = _translated_views(draws, batch, target, settings, "kornia058")
    pasted = _mixed(source, unlabelled, draws, settings)
    return {
      **common,
      "translated": source,
      "pasted": common["mixed"].replace(label=pasted.label),
      # Its contrast knows no margins.
      "target": self_training.target_view(batch, teacher, settings, margins=False),
    }

  return _maker(make, settings)


def one_stage_views(settings: SelfTraining, jitter: Jitter = "kornia058") -> ViewMaker:
  """Makes the views of the one-stage form, CONFETII.

  `source` is the translated source, augmented if the settings say so, `raw` the source before its
  translation, `target` the target with pseudo-labels, and `mixed` the augmented mix of source and target.

  Args:
    settings: Pseudo-labels, mixing and augmentation.
    jitter: The version of kornia whose color jitter augments images.

  Raises:
    SettingError: There is no such jitter.
  """
  registry.lookup(JITTERS, jitter, "method.jitter")

  def make(draws: self_training.Draws, batch: Batch, teacher: Passes, views) -> dict[str, View]:
    del views
    target = self_training.target_view(batch, teacher, settings)
    return {**_translated_views(draws, batch, target, settings, jitter), "target": target}

  return _maker(make, settings)


def _translated_views(
  draws: self_training.Draws, batch: Batch, target: View, settings: SelfTraining, jitter: Jitter
) -> dict[str, View]:
  """The views `source`, `raw` and `mixed`."""
  source = self_training.source_view(batch)
  augment = functools.partial(self_training.augmented, jitter=JITTERS[jitter])
  return {
    "source": augment(source, draws.source) if settings.source_augmentation else source,
    "raw": source.replace(image=batch["source"]["raw"]),
    "mixed": augment(_mixed(source, target, draws, settings), draws.mixed),
  }


def _mixed(source: View, target: View, draws: self_training.Draws, settings: SelfTraining) -> View:
  """The mix before its augmentation."""
  per_image = settings.mix_per_image_classes
  return self_training.mixed_view(source, target, draws.classes, per_image=per_image)


def _maker(make, settings: SelfTraining) -> ViewMaker:
  draw = lambda key, batch: self_training.draw(key, batch, strength=settings.jitter_strength)
  return ViewMaker(make, draw)
