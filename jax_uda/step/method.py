"""What a method is: views of the batch, and terms of a loss over them."""

import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import optax

from jax_uda.ops import pixels
from jax_uda.step.context import Pass, Passes, View
from jax_uda.step.objective import Batch, Objective, no_draws


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
  mean_color: tuple[float, ...] = (0.485, 0.456, 0.406)


class Auxiliary(NamedTuple):
  """Networks that train beside the student: a discriminator, a translator of images.

  The method's loss is differentiated by their parameters too (`Context.auxiliary`); what must not
  reach them passes through `jax.lax.stop_gradient`. Images of a batch are RGB in [0, 1], float32.

  Attributes:
    init: `key -> state`, a dict of everything that survives a step; the loss is differentiated by
      `state["params"]`.
    update: `(state, grads, draws, batch) -> (state, metrics)` at the end of a step; `grads` are those
      of the method's loss by `state["params"]`, `batch` is the one before `prepare`.
    prepare: `(params, batch) -> batch` before the views are made, e.g. source images in the style of
      the target.
    draw: `(key, batch) -> draws`, the random numbers of `update`.
  """

  init: Callable[[jax.Array], dict[str, Any]]
  update: Callable[[dict[str, Any], Any, Any, Batch], tuple[dict[str, Any], dict[str, jax.Array]]]
  prepare: Callable[[Any, Batch], Batch] = lambda params, batch: batch
  draw: Callable[[jax.Array, Batch], Any] = no_draws


class Foundation(NamedTuple):
  """A frozen network of another kind than the student, whose maps terms compare with the student's.

  Attributes:
    build: Called with `dtype=`, gives a module that maps images [B, H, W, 3], RGB in [0, 1], to a map
      [B, h, w, D].
    encoder: Its name, for messages.
    weights: Its weight file; "random" or empty for a random one.
  """

  build: Callable[..., nn.Module]
  encoder: str
  weights: str = ""


class ViewMaker(NamedTuple):
  """Views that are made together, and the random numbers that they need.

  Attributes:
    make: `(draws, batch, teacher, views) -> views to add`, deterministic and never differentiated.
      Images of the batch are RGB in [0, 1], float32.
      `teacher(name, image)` gives the teacher's `Outputs`; `views` are those of the makers before.
    draw: `(key, batch) -> draws`, a pytree with every random number that `make` needs.
  """

  make: Callable[[Any, Batch, Passes, dict[str, View]], dict[str, View]]
  draw: Callable[[jax.Array, Batch], Any] = no_draws


class Method(NamedTuple):
  """A UDA method as data: a component adds entries to these dictionaries (`methods.extension`).

  All randomness is in the `draw` of view makers and terms, so that recorded draws can be replayed.

  Attributes:
    views: Makers of views by name, in the order in which they run.
    terms: Terms of the training loss by name, in the order in which they ask for passes.
    heads: Heads that the segmentor must have, by name: called with `dtype=`, they give a module.
    passes: `phase -> {view: options of the student's pass}`.
    teacher_outputs: The outputs that a teacher's pass computes (as in `Pass.outputs`), by the name that
      `teacher` is called with; all, if it is not here. What is computed and not used is not free: it
      moves BatchNorm's statistics.
    extra_phases: Steps at which `passes` changes, beside the phases of the terms.
    start_steps: By regular expression of parameter paths, the step before which the optimizer leaves
      them untouched; None = for ever.
    auxiliary: From the learning-rate schedule to networks that train beside the student, or None.
    uses_reference: Whether terms ask for the frozen initial network.
    foundation: The foundation model that terms ask for, or None.
    unlabelled: Views whose labels are all 255.
  """

  views: Mapping[str, ViewMaker]
  terms: Mapping[str, Objective[Any]]
  heads: Mapping[str, Callable[..., nn.Module]] = types.MappingProxyType({})
  passes: Callable[[int], Mapping[str, Pass]] = lambda phase: {}
  teacher_outputs: Mapping[str, tuple[str, ...]] = types.MappingProxyType({})
  extra_phases: tuple[int, ...] = ()
  start_steps: Mapping[str, int | None] = types.MappingProxyType({})
  auxiliary: Callable[[optax.Schedule], Auxiliary] | None = None
  uses_reference: bool = False
  foundation: Foundation | None = None
  unlabelled: tuple[str, ...] = ()

  @property
  def phases(self) -> tuple[int, ...]:
    """Steps at which a new phase begins and the step is compiled anew, 0 included, ascending."""
    steps = {0, *self.extra_phases}
    for term in self.terms.values():
      steps.update(term.phases)
    return tuple(sorted(steps))

  def phase(self, step: int) -> int:
    """First step of the phase that `step` lies in: steps of a phase run the same program."""
    return max(first for first in self.phases if first <= step)

  def draw(self, key: jax.Array, batch: Batch) -> dict[str, Any]:
    """The random numbers of all views, by maker; a maker names its keys itself."""
    return {name: maker.draw(key, batch) for name, maker in self.views.items()}

  def make_views(self, draws: Mapping[str, Any], batch: Batch, teacher: Passes) -> dict[str, View]:
    """All views by name, constants for the loss."""
    views: dict[str, View] = {}
    for name, maker in self.views.items():
      views |= maker.make(draws[name], batch, teacher, dict(views))
    # View by view: a dictionary that goes through `jax.tree` comes back sorted by name.
    return {name: jax.lax.stop_gradient(view) for name, view in views.items()}


def with_unit_images(batch: Batch) -> Batch:
  """The batch as methods take it: its images are RGB in [0, 1], float32.

  Args:
    batch: The batch as the data sets give it: the arrays `image` and `day_image` of `source` and
      `target` are uint8. Everything else stays as it is.
  """
  convert = lambda arrays: {
    name: pixels.to_unit(value) if name in ("image", "day_image") else value
    for name, value in arrays.items()
  }
  domains = [name for name in ("source", "target") if name in batch]
  return {**batch, **{name: convert(batch[name]) for name in domains}}
