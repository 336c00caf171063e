"""What a method is: random draws, views and objectives."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax

from jax_uda.ops import pixels
from jax_uda.step.context import Passes, View
from jax_uda.step.objective import Objective, Survey

Batch = Mapping[str, Mapping[str, jax.Array]]


class Task(NamedTuple):
  """What a method must know of the data and of the network.

  Attributes:
    num_classes: Number of classes, C.
    class_frequency: [C] share of each class in the labelled pixels of the source; empty where it is
      not known and not needed.
    mean_color: RGB in [0, 1], the color that the network subtracts: a pixel of it is 0 to the encoder.
      The default is that of ImageNet.
  """

  num_classes: int
  class_frequency: tuple[float, ...] = ()
  mean_color: tuple[float, float, float] = (0.485, 0.456, 0.406)


class Player(NamedTuple):
  """Networks that play beside the student: a discriminator, a translator of images.

  The method's loss is differentiated by the player's parameters too (`Context.player`); what must not
  reach them passes through `jax.lax.stop_gradient`.

  Attributes:
    init: `key -> state`, a dict of everything that survives a step; `state["params"]` is what the loss
      is differentiated by.
    update: `(state, grads, draws, batch) -> (state, metrics)` at the end of a step; `grads` are those
      of the method's loss by `state["params"]`, `batch` is the one before `prepare`.
    prepare: `(params, batch) -> batch`, what the player does to the batch before the views are made,
      e.g. source images in the style of the target.
    draw: `(key, batch) -> draws`, the random numbers of `update`.

  Images of a batch are RGB in [0, 1], float32.
  """

  init: Callable[[jax.Array], dict[str, Any]]
  update: Callable[[dict[str, Any], Any, Any, Batch], tuple[dict[str, Any], dict[str, jax.Array]]]
  prepare: Callable[[Any, Batch], Batch] = lambda params, batch: batch
  draw: Callable[[jax.Array, Batch], Any] = lambda key, batch: None


class Method(NamedTuple):
  """A UDA method. All randomness is in `draw`, so that recorded draws can be replayed.

  Attributes:
    draw: `(key, batch) -> draws`, a pytree with every random number the views need.
    views: `(draws, batch, teacher) -> {name: View}`, deterministic, never differentiated. Images of
      the batch are RGB in [0, 1], float32.
      `teacher(name, image)` gives the teacher's `Outputs`.
    objective: The training loss, usually a `chain`.
    uses_reference: Whether objectives ask for the frozen initial network.
    heads: Heads that the segmentor must have, by name: called with `dtype=`, they give a module.
    calls: `phase_start -> {view: arguments}`, further keyword arguments of the *student's* pass of a
      view: `parts` (what runs behind the encoder: "decoder", "map", head names; all, if not given), `frozen`
      (its parameters are constants in this pass), a function as HRDA's `crop_box`.
    teacher_parts: By view or other name of a teacher's pass, what runs behind the encoder; all, if not
      given. What is computed and not used is not free: BatchNorm's statistics are kept.
    gates: Steps at which terms start (`Context.started`); the step is compiled anew at each.
    start_steps: By regular expression of parameter paths, the step before which the optimizer leaves
      them untouched.
    player: From the learning-rate schedule to a second player, or None.
    surveys: By term of the objective, a pass over the labelled source before the first step.
    unlabelled: Views whose labels are all 255.
  """

  draw: Callable[[jax.Array, Batch], Any]
  views: Callable[[Any, Batch, Passes], dict[str, View]]
  objective: Objective
  uses_reference: bool = False
  heads: Mapping[str, Callable[..., nn.Module]] = types.MappingProxyType({})
  calls: Callable[[int], Mapping[str, Mapping[str, Any]]] = lambda phase_start: {}
  teacher_parts: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})
  gates: tuple[int, ...] = ()
  start_steps: Mapping[str, int] = types.MappingProxyType({})
  player: Callable[[optax.Schedule], Player] | None = None
  surveys: Mapping[str, Survey] = types.MappingProxyType({})
  unlabelled: tuple[str, ...] = ()

  @property
  def phases(self) -> tuple[int, ...]:
    """The steps at which phases begin."""
    return tuple(sorted({0, *self.gates}))

  def phase(self, step: int) -> int:
    """As `phase_start`."""
    return self.phase_start(step)

  @property
  def terms(self) -> dict[str, Any]:
    """The terms that have a pass over the source."""
    return {
      name: types.SimpleNamespace(source_pass=survey) for name, survey in self.surveys.items()
    }

  def phase_start(self, step: int) -> int:
    """The last gate at or before `step`, or 0: steps with the same answer run the same program."""
    return max((gate for gate in self.gates if gate <= step), default=0)


def with_unit_images(batch: Batch) -> dict[str, Any]:
  """The batch as methods and players take it: its images are RGB in [0, 1], float32.

  Args:
    batch: As the data sets give it: the arrays `image` and `day_image` of `source` and `target` are
      uint8. Everything else is handed on as it is.
  """
  convert = lambda arrays: {
    name: pixels.to_unit(value) if name in ("image", "day_image") else value
    for name, value in arrays.items()
  }
  domains = [name for name in ("source", "target") if name in batch]
  return {**batch, **{name: convert(batch[name]) for name in domains}}
