"""The forward passes of one training step.

A step has a dictionary of views (source, target, mixed, …) and up to three networks: the student
that is trained, its EMA teacher, and a frozen reference. Objectives ask `Context` for "network N on
view V". However many objectives ask, the pass is traced once, and BatchNorm statistics thread through
the passes of a network in the order in which they are first asked for.
"""

import types
import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from flax import struct

from jax_uda.step.outputs import Outputs

# The key of auxiliary networks. Names of keys are part of a run's numbers, so this old one stays.
AUXILIARY_KEY = "player"


class View(struct.PyTreeNode):
  """One version of the batch that losses look at.

  Attributes:
    image: [B, H, W, 3] float32, RGB in [0, 1].
    label: [B, H, W] int32 train ids, 255 = ignore.
    weight: [B, H, W] float32 weight of each pixel's loss.
    inputs: Arrays that the student's pass of this view takes beside the image, by argument:
      `crop_box` of HRDA, `token_mask` of DINOv2.
  """

  image: jax.Array
  label: jax.Array
  weight: jax.Array
  inputs: dict[str, jax.Array] = struct.field(default_factory=dict)


class Pass(NamedTuple):
  """Options of the student's pass of one view.

  Attributes:
    outputs: What the network computes behind its encoder: "decoder", "fused" where the decoder's map
      is enough, names of heads. None computes all. What is computed and not used is not free: it
      moves BatchNorm's statistics.
    frozen: The student's variables are constants in this pass: no gradient reaches them.
    inputs: Further arguments of the network by name, the same in every step: `mask_ratio` of DINOv2, or
      a function such as HRDA's `crop_box`.
  """

  outputs: tuple[str, ...] | None = None
  frozen: bool = False
  inputs: Mapping[str, Any] = types.MappingProxyType({})


def named_key(key: jax.Array, name: str) -> jax.Array:
  """The key of one consumer of randomness; adding a consumer shifts no other's draws."""
  return jax.random.fold_in(key, zlib.crc32(name.encode()))


# `(variables, image, view's name, **inputs) -> (Outputs, new batch statistics or None)`.
Forward = Callable[..., tuple[Outputs, Any]]


class Passes:
  """Forward passes of one network, one per view, with its BatchNorm statistics threaded through."""

  def __init__(self, network: Forward, variables: Mapping[str, Any]):
    """Takes the network as a function and its variables; nothing runs yet."""
    self.network = network
    self._variables = dict(variables)
    self._outputs: dict[str, Outputs] = {}

  def __call__(self, name: str, image: jax.Array, **inputs: jax.Array) -> Outputs:
    """The outputs for the view `name`; runs the network at its first call only."""
    if name not in self._outputs:
      self._outputs[name], batch_stats = self.network(self._variables, image, name, **inputs)
      if batch_stats:
        self._variables["batch_stats"] = batch_stats
    return self._outputs[name]

  @property
  def variables(self) -> dict[str, Any]:
    """The network's variables with the statistics that the passes so far left behind."""
    return dict(self._variables)


class Context:
  """What an objective may look at: views, the number of the step, the networks' outputs."""

  def __init__(
    self,
    *,
    views: Mapping[str, View],
    step: jax.Array,
    student: Passes,
    teacher: Passes,
    reference: Callable[[jax.Array], tuple[jax.Array, ...]] | None = None,
    foundation: Callable[[jax.Array], jax.Array] | None = None,
    auxiliary: Any = None,
    phase: int = 0,
  ):
    """The train step makes it, inside the function that is differentiated.

    Args:
      views: The method's views by name.
      step: int32 scalar, number of completed steps.
      student: Passes of the student.
      teacher: Passes of the teacher.
      reference: From an image to the encoder maps of the frozen initial network, or None.
      foundation: From an image to the map of the frozen foundation model, or None.
      auxiliary: Parameters of the method's auxiliary networks (`Auxiliary`), or None.
      phase: First step of the phase that is traced (`Method.phase`).
    """
    self.views, self.step, self.auxiliary = views, step, auxiliary
    self.student_passes = student
    self._teacher, self._reference, self._foundation = teacher, reference, foundation
    self._phase = phase

  def started(self, step: int) -> bool:
    """Whether the training has reached `step`, one of the method's phases; known when tracing.

    What has not started yet is not even computed: a pass that only a later term asks for costs
    nothing before, and leaves BatchNorm statistics alone.
    """
    return self._phase >= step

  def student(self, view: str, image: jax.Array | None = None) -> Outputs:
    """The student on `view`, in training mode; carries gradients.

    `image` replaces the view's image, which is a constant, where the loss is differentiated by the
    image: one that the auxiliary networks translate (`self.auxiliary` holds their parameters).
    """
    data = self.views[view]
    return self.student_passes(view, data.image if image is None else image, **data.inputs)

  def teacher(self, view: str) -> Outputs:
    """The teacher on `view`: no dropout, batch statistics in BatchNorm, no gradient."""
    return jax.lax.stop_gradient(self._teacher(view, self.views[view].image))

  def teacher_through(self, name: str, image: jax.Array) -> Outputs:
    """The teacher on an image that the auxiliary networks made; the gradient reaches the image alone.

    Every call runs the network, and leaves BatchNorm's statistics as they are.

    Args:
      name: Name of the pass, for `Method.teacher_outputs`.
      image: [B, H, W, 3], RGB in [0, 1], made with the parameters `self.auxiliary`.
    """
    constants = jax.lax.stop_gradient(self._teacher.variables)
    return self._teacher.network(constants, image, name)[0]

  def reference(self, view: str) -> tuple[jax.Array, ...]:
    """Encoder maps of the frozen initial network on `view`, in evaluation mode, no gradient."""
    if self._reference is None:
      raise ValueError("this method keeps no reference network: set Method.uses_reference")
    return jax.lax.stop_gradient(self._reference(self.views[view].image))

  def foundation(self, view: str) -> jax.Array:
    """The frozen foundation model's map [B, h, w, D] of `view`, no gradient."""
    if self._foundation is None:
      raise ValueError("this method has no foundation model: set Method.foundation")
    return jax.lax.stop_gradient(self._foundation(self.views[view].image))
