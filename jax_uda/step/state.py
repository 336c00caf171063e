"""Everything that survives a training step, and the state before the first one."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

from jax_uda.step.context import AUXILIARY_KEY, named_key
from jax_uda.step.method import Auxiliary, Method
from jax_uda.step.objective import init_terms
from jax_uda.step.outputs import Network
from jax_uda.step.shared import FOUNDATION, merge, of_networks, split


class TrainState(struct.PyTreeNode):
  """The whole state of a run; what is not in here does not exist after a restart.

  Attributes:
    step: int32 scalar, number of completed steps.
    student: Variables of the trained network: `params` and, if it has BatchNorm, `batch_stats`. With a
      frozen encoder, what trains alone.
    teacher: Variables of its moving average; `batch_stats` are the teacher's own.
    reference: Encoder variables of the frozen initial network, or None. A frozen encoder's are here, and
      student and teacher share them. A foundation model's are its collection `foundation`.
    opt_state: State of the optimizer.
    objective_state: States of the method's terms by name (prototypes, banks, …).
    auxiliary: State of the method's auxiliary networks (`Auxiliary`), or None.
    key: Root of all randomness; the draws of step t come from `fold_in(key, t)`.
  """

  step: jax.Array
  student: dict[str, Any]
  teacher: dict[str, Any]
  reference: dict[str, Any] | None
  opt_state: Any
  objective_state: dict[str, Any]
  auxiliary: dict[str, Any] | None
  key: jax.Array

  def variables(self, network: str) -> dict[str, Any]:
    """All variables of the "student" or the "teacher", those of a frozen encoder included."""
    return merge(of_networks(self.reference), getattr(self, network))


def encoder_variables(variables: dict[str, Any]) -> dict[str, Any]:
  """The encoder's part of a segmentor's variables."""
  return {
    name: {"encoder": tree["encoder"]} for name, tree in variables.items() if "encoder" in tree
  }


def networks_at(
  variables: dict[str, Any], freeze: str, uses_reference: bool
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any] | None]:
  """Student, teacher and reference of a run that starts from `variables`.

  They are equal *copies*: the step donates its state, and a buffer can be donated once. The variables of
  a frozen part are in the reference alone.
  """
  copy = lambda tree: jax.tree.map(jnp.copy, tree)
  student, shared = split(variables, freeze)
  if not shared and uses_reference:
    shared = copy(encoder_variables(variables))
  return student, copy(student), shared or None


def init_foundation(
  foundation: nn.Module | None, key: jax.Array, image_size: tuple[int, int]
) -> dict[str, Any]:
  """The part of the reference that a foundation model with random weights is; empty without one."""
  if foundation is None:
    return {}
  image = jnp.zeros((1, *image_size, 3))
  return {FOUNDATION: dict(foundation.init(named_key(key, FOUNDATION), image))}


def from_variables(
  variables: dict[str, Any],
  method: Method,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  auxiliary: Auxiliary | None = None,
  *,
  freeze: str = "",
  foundation: dict[str, Any] | None = None,
) -> TrainState:
  """The state before step 0, with `variables` as student, teacher and reference.

  Args:
    variables: Those of the whole network.
    method: The UDA method.
    optimizer: Acts on the parameters that train.
    key: Root of all randomness.
    auxiliary: The method's auxiliary networks, or None.
    freeze: The part of the network that is frozen (`Segmentor.freeze`).
    foundation: From `init_foundation`.
  """
  student, teacher, reference = networks_at(variables, freeze, method.uses_reference)
  if foundation:
    reference = {**(reference or {}), **foundation}
  return TrainState(
    step=jnp.int32(0),
    student=student,
    teacher=teacher,
    reference=reference,
    opt_state=optimizer.init(student["params"]),
    objective_state=init_terms(method.terms, named_key(key, "objective")),
    auxiliary=auxiliary.init(named_key(key, AUXILIARY_KEY)) if auxiliary else None,
    key=key,
  )


def create(
  model: Network,
  method: Method,
  optimizer: optax.GradientTransformation,
  *,
  image_size: tuple[int, int],
  seed: int,
  auxiliary: Auxiliary | None = None,
  foundation: nn.Module | None = None,
) -> TrainState:
  """A randomly initialised state; `image_size` is any (height, width) the networks accept."""
  key = jax.random.key(seed)
  variables = model.init(
    named_key(key, "model"), jnp.zeros((1, *image_size, 3)), train=False, use_running_average=True
  )
  return from_variables(
    dict(variables),
    method,
    optimizer,
    key,
    auxiliary,
    freeze=getattr(model, "freeze", ""),
    foundation=init_foundation(foundation, key, image_size),
  )
