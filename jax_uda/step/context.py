"""The forward passes of one training step.

A step has a dictionary of views (source, target, mixed, …) and up to three
networks: the student that is trained, its EMA teacher, and a frozen reference.
Objectives ask `Context` for "network N on view V"; however many of them ask,
the pass is traced once, and BatchNorm statistics thread through the passes of a
network in the order in which they are first asked for.
"""

import copy
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import flax
import jax

from jax_uda.step.outputs import Outputs


@flax.struct.dataclass
class View:
  """One version of the batch that losses look at.

  Attributes:
    image: [B, H, W, 3] float32, RGB in [0, 1]; the network standardises it.
    label: [B, H, W] int32 train ids, 255 = ignore.
    weight: [B, H, W] float32 weight of each pixel's loss.
    inputs: Arrays that the student's pass is given beside the image, by argument: `crop_box` of HRDA,
      `token_mask` of DINOv2.
  """

  image: jax.Array
  label: jax.Array
  weight: jax.Array
  inputs: dict[str, jax.Array] = flax.struct.field(default_factory=dict)


def named_key(key: jax.Array, name: str) -> jax.Array:
  """The key of one consumer of randomness; adding a consumer shifts no other's draws."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


class Passes:
  """Forward passes of one network, one per view, with its BatchNorm statistics threaded through.

  `apply(variables, image, name, **inputs)` returns `(Outputs, new batch statistics)`.
  """

  def __init__(self, apply: Callable[..., tuple[Outputs, Any]], variables: Mapping[str, Any]):
    """Takes the network as a function and its variables; nothing runs yet."""
    self._apply = apply
    self._outputs: dict[str, Outputs] = {}
    self.variables = dict(variables)

  def __call__(self, name: str, image: jax.Array, **inputs: jax.Array) -> Outputs:
    """The outputs for the view `name`; runs the network at its first call only."""
    if name not in self._outputs:
      self._outputs[name], batch_stats = self._apply(self.variables, image, name, **inputs)
      if batch_stats:
        self.variables["batch_stats"] = batch_stats
    return self._outputs[name]


class Context:
  """What an objective may look at: views, step number, the method's draws, networks' outputs."""

  def __init__(
    self,
    *,
    views: Mapping[str, View],
    step: jax.Array,
    key: jax.Array,
    draws: Any = None,
    student: Passes,
    teacher: Passes,
    reference: Callable[[jax.Array], tuple[jax.Array, ...]] | None = None,
    player: Any = None,
    phase_start: int = 0,
  ):
    """Made by the train step, inside the function that is differentiated."""
    self.views, self.step, self.key = views, step, key
    self.draws, self.player = draws, player
    self._student, self._teacher, self._reference = student, teacher, reference
    self._phase_start = phase_start

  def with_draws(self, draws: Any) -> "Context":
    """The same context for a term whose random numbers are a part of the method's `draws`."""
    other = copy.copy(self)
    other.draws = draws
    return other

  def started(self, step: int) -> bool:
    """Whether the training has reached `step`, one of `Method.gates`; known when tracing.

    So what has not started yet is not even computed: a pass that only a later term asks for costs
    nothing before, and leaves BatchNorm statistics alone.
    """
    return self._phase_start >= step

  def student(self, view: str, image: jax.Array | None = None) -> Outputs:
    """The student on `view`, in training mode; carries gradients.

    `image` stands in for the view's, which is a constant, where the loss is differentiated by it: what
    the second player makes (`self.player`, its parameters).
    """
    data = self.views[view]
    return self._student(view, data.image if image is None else image, **data.inputs)

  def teacher(self, view: str) -> Outputs:
    """The teacher on `view`: no dropout, batch statistics in BatchNorm, no gradient."""
    return jax.lax.stop_gradient(self._teacher(view, self.views[view].image))

  def reference(self, view: str) -> tuple[jax.Array, ...]:
    """Encoder maps of the frozen initial network on `view`, in evaluation mode, no gradient."""
    if self._reference is None:
      raise ValueError("this method keeps no reference network: set Method.uses_reference")
    return jax.lax.stop_gradient(self._reference(self.views[view].image))
