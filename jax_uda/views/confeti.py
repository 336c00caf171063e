"""CONFETI's views and their random numbers."""

import dataclasses
import functools

import flax
import jax
import jax.numpy as jnp

from jax_uda.step.context import View, named_key
from jax_uda.step.method import Batch
from jax_uda.views import self_training


@flax.struct.dataclass
class Draws:
  """Every random number of a step.

  Attributes:
    base: Those of self-training.
    rows: By view, [B, H, W] uniform numbers that choose the pixels of its contrast.
  """

  base: self_training.Draws
  rows: dict[str, jax.Array]


def draw(key: jax.Array, batch: Batch, *, strength: float) -> Draws:
  """The random numbers of a step; `strength` is that of the jitter."""
  uniforms = lambda view: jax.random.uniform(
    named_key(key, f"rows/{view}"), batch["source"]["label"].shape
  )
  rows = {view: uniforms(view) for view in ("source", "mixed", "target")}
  return Draws(self_training.draw(key, batch, strength=strength), rows)


@dataclasses.dataclass(frozen=True)
class Views:
  """Makes the views of a step.

  Attributes:
    label: `self_training.target_view` with its settings, but for the margins.
    margins: The rows of the target without a label in mixed images.
    mix_per_image_classes: Of `self_training.mixed_view`.
    source_augmentation: Whether the source view is augmented.
  """

  label: functools.partial
  margins: dict[str, int]
  mix_per_image_classes: bool
  source_augmentation: bool

  def __call__(self, draws: Draws, batch: Batch, teacher) -> dict[str, View]:
    """The views; the batch's source images are translated already, its `raw` ones are not."""
    source = self_training.source_view(batch)
    target = self.label(batch, teacher, **self.margins)
    mix = lambda target: self_training.mixed_view(
      source, target, draws.base.classes, per_image=self.mix_per_image_classes
    )
    mixed = self_training.augmented(mix(target), draws.base.mixed)
    pasted = mix(target.replace(label=jnp.full_like(target.label, 255)))
    augmented = self_training.augmented(source, draws.base.source)
    return {
      "source": augmented if self.source_augmentation else source,
      "raw": source.replace(image=batch["source"]["raw"]),
      "translated": source,
      "mixed": mixed,
      "pasted": mixed.replace(label=pasted.label),
      "target": self.label(batch, teacher),  # its contrast knows no margins
    }
