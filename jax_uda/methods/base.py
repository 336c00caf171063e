"""What a method is: random draws, views and objectives."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.context import Passes, View
from jax_uda.objectives.base import Objective

Batch = Mapping[str, Mapping[str, jax.Array]]


class Task(NamedTuple):
  """What a method must know of the data and of the encoder.

  Attributes:
    num_classes: Number of classes, C.
    image_mean: Of the encoder's standardisation, RGB in 0..255.
    image_std: Likewise.
    class_frequency: [C] share of each class in the labelled pixels of the source.
  """

  num_classes: int
  image_mean: tuple[float, ...]
  image_std: tuple[float, ...]
  class_frequency: tuple[float, ...]


class Method(NamedTuple):
  """A UDA method. All randomness is in `draw`, so that recorded draws can be replayed.

  Attributes:
    draw: `(key, batch) -> draws`, a pytree with every random number the views need.
    views: `(draws, batch, teacher) -> {name: View}`, deterministic, never differentiated.
      `teacher(name, image)` gives the teacher's `Outputs`.
    objective: The training loss, usually a `chain`.
    uses_reference: Whether objectives ask for the frozen initial network.
    heads: Heads that the segmentor must have, by name: called with `dtype=`, they give a module.
    parts: `phase_start -> {view: names}`, what the *student* computes of a view behind the encoder
      ("decoder", head names); everything for a view that is not listed.
    gates: Steps at which terms start (`Context.started`); the step is compiled anew at each.
    start_steps: By regular expression of parameter paths, the step before which the optimizer leaves
      them untouched.
  """

  draw: Callable[[jax.Array, Batch], Any]
  views: Callable[[Any, Batch, Passes], dict[str, View]]
  objective: Objective
  uses_reference: bool = False
  heads: Mapping[str, Callable[..., nn.Module]] = types.MappingProxyType({})
  parts: Callable[[int], Mapping[str, tuple[str, ...]]] = lambda phase_start: {}
  gates: tuple[int, ...] = ()
  start_steps: Mapping[str, int] = types.MappingProxyType({})

  def phase_start(self, step: int) -> int:
    """The last gate at or before `step`, or 0: steps with the same answer run the same program."""
    return max((gate for gate in self.gates if gate <= step), default=0)


def standardise(image: jax.Array, task: Task) -> jax.Array:
  """uint8 RGB [B,H,W,3] -> float32, standardised with the encoder's mean and std."""
  mean, std = jnp.array(task.image_mean), jnp.array(task.image_std)
  return (image.astype(jnp.float32) - mean) / std


def class_weights(task: Task, power: float) -> jax.Array | None:
  """[C] weights `frequency ** -power`, scaled so that an average source pixel weighs 1.

  None for power 0. A class that never occurs in the source weighs as much as the rarest that does.
  """
  if not power:
    return None
  frequency = jnp.array(task.class_frequency, jnp.float32)
  rarest = jnp.min(jnp.where(frequency > 0, frequency, jnp.inf))
  weights = jnp.maximum(frequency, rarest) ** -power
  return weights / jnp.sum(frequency * weights)
