"""Everything that survives a training step, and the state before the first one."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from jax_uda.step.context import AUXILIARY_KEY, named_key
from jax_uda.step.method import Auxiliary, Method
from jax_uda.step.objective import init_terms
from jax_uda.step.outputs import Network


class TrainState(struct.PyTreeNode):
  """The whole state of a run; what is not in here does not exist after a restart.

  Attributes:
    step: int32 scalar, number of completed steps.
    student: Variables of the trained network: `params` and, if it has BatchNorm, `batch_stats`.
    teacher: Variables of its moving average; `batch_stats` are the teacher's own.
    reference: Encoder variables of the frozen initial network, or None.
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


def encoder_variables(variables: dict[str, Any]) -> dict[str, Any]:
  """The encoder's part of a segmentor's variables."""
  return {
    name: {"encoder": tree["encoder"]} for name, tree in variables.items() if "encoder" in tree
  }


def from_variables(
  variables: dict[str, Any],
  method: Method,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  auxiliary: Auxiliary | None = None,
) -> TrainState:
  """The state before step 0, with `variables` as student, teacher and reference.

  They are equal *copies*: the step donates its state, and a buffer can be donated once.
  """
  copy = lambda tree: jax.tree.map(jnp.copy, tree)
  return TrainState(
    step=jnp.int32(0),
    student=variables,
    teacher=copy(variables),
    reference=copy(encoder_variables(variables)) if method.uses_reference else None,
    opt_state=optimizer.init(variables["params"]),
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
) -> TrainState:
  """A randomly initialised state; `image_size` is any (height, width) the model accepts."""
  key = jax.random.key(seed)
  variables = model.init(
    named_key(key, "model"), jnp.zeros((1, *image_size, 3)), train=False, use_running_average=True
  )
  return from_variables(dict(variables), method, optimizer, key, auxiliary)
