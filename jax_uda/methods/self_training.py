"""The views that self-training methods share: source, target with pseudo-labels, and their mix.

DACS (Tranheden et al., 2021) with the details of DAFormer's code (Hoyer et al., 2022).
"""

import flax
import jax
import jax.numpy as jnp

from jax_uda.augment import classmix, strong
from jax_uda.context import View, named_key
from jax_uda.methods.base import Batch, Task, standardise


@flax.struct.dataclass
class Draws:
  """Every random number of a self-training step.

  Attributes:
    classes: Which source classes ClassMix pastes, see `classmix.draw`.
    mixed: Strong augmentation of the mixed images.
    source: Strong augmentation of the source images.
  """

  classes: jax.Array
  mixed: strong.StrongDraws
  source: strong.StrongDraws


def draw(key: jax.Array, batch: Batch) -> Draws:
  """Draws for one step."""
  batch_size = batch["source"]["image"].shape[0]
  return Draws(
    classes=classmix.draw(named_key(key, "classes"), batch_size),
    mixed=strong.draw(named_key(key, "mixed"), batch_size),
    source=strong.draw(named_key(key, "source"), batch_size),
  )


def source_view(draws: strong.StrongDraws, batch: Batch, task: Task, augment: bool) -> View:
  """The labelled source batch; strongly augmented if `augment` (the reference leaves it clean)."""
  image = standardise(batch["source"]["image"], task)
  if augment:
    image = strong.augment(image, draws, mean=task.image_mean, std=task.image_std)
  label = batch["source"]["label"].astype(jnp.int32)
  return View(image, label, jnp.ones(label.shape, jnp.float32))
