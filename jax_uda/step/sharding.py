"""Which device holds which part of a state: the rule of fully sharded data parallelism (FSDP).

Zhao et al., "PyTorch FSDP", 2023, and Rajbhandari et al., "ZeRO", 2020: what is as large as the network is split over the
devices of the mesh's `fsdp` axis; XLA gathers it where it is needed.
"""

import math
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jax_uda.common import mesh as mesh_lib
from jax_uda.step.state import TrainState

SPLIT = ("student", "teacher", "reference", "opt_state", "auxiliary")  # fields of a state
SMALLEST = 2**10  # numbers of an array that is split


def of_array(mesh: Mesh, x: Any) -> NamedSharding:
  """The largest axis that the devices can share evenly is split; small arrays are not.

  Args:
    mesh: The devices; without an axis `fsdp` nothing is split.
    x: An array, or its shape and dtype.
  """
  count = mesh.shape.get(mesh_lib.FSDP, 1)
  axes = [axis for axis, side in enumerate(x.shape) if side % count == 0]
  if count == 1 or not axes or math.prod(x.shape) < SMALLEST:
    return mesh_lib.replicated(mesh)
  largest = max(axes, key=lambda axis: x.shape[axis])
  return NamedSharding(mesh, PartitionSpec(*[None] * largest, mesh_lib.FSDP))


def of_state(mesh: Mesh, state: TrainState) -> TrainState:
  """The sharding of each array of a state: networks and optimizer are split, all else is everywhere."""
  split = lambda tree: jax.tree.map(lambda x: of_array(mesh, x), tree)
  whole = lambda tree: jax.tree.map(lambda _: mesh_lib.replicated(mesh), tree)
  return state.replace(
    **{
      name: (split if name in SPLIT else whole)(getattr(state, name))
      for name in state.__dataclass_fields__
    }
  )


def constrain(mesh: Mesh, state: TrainState) -> TrainState:
  """The state, of which a traced program keeps each array as `of_state` says."""
  return jax.lax.with_sharding_constraint(state, of_state(mesh, state))
