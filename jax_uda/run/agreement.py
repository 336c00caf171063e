"""What the processes of a run decide together, e.g. that they stop after the same step."""

import collections
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jax_uda.common import mesh as mesh_lib

LAG = 2  # steps; so many may be under way before their answers are waited for


class Agreement:
  """Asks all processes yes-no questions after each step: an answer is yes if any process says yes.

  The answers of several processes are those of some steps before, so that nobody waits for the step under
  way; all processes get the same answers after the same step. One process answers itself at once.
  """

  def __init__(self, mesh: Mesh):
    """Takes the devices that share a batch."""
    self._mesh = mesh
    self._asked: collections.deque[jax.Array] = collections.deque()
    replicated = mesh_lib.replicated(mesh)
    self._any = jax.jit(functools.partial(jnp.max, axis=0), out_shardings=replicated)

  def ask(self, *answers: bool) -> tuple[bool, ...]:
    """The common answers.

    Args:
      *answers: This process's; every process has to ask after the same steps, the same number.
    """
    if jax.process_count() == 1:
      return answers
    rows = np.tile(np.array(answers, np.int32), (jax.local_device_count(), 1))
    self._asked.append(self._any(mesh_lib.put_batch(self._mesh, rows)))
    if mesh_lib.must_wait(self._mesh):
      jax.block_until_ready(self._asked[-1])
    if len(self._asked) <= LAG:
      return (False,) * len(answers)
    return tuple(bool(answer) for answer in np.asarray(self._asked.popleft()))
