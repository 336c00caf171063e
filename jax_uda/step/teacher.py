"""The teacher as an exponential moving average of the student."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class Rule(NamedTuple):
  """How the teacher follows; the defaults are those of the DACS family.

  Attributes:
    decay: Largest decay of the moving average.
    after_update: Move at the end of a step, towards the student just updated (RCCR, VFM-UDA), instead
      of at its start.
    offset: Added to the step in the ramp; VFM-UDA counts the completed updates, 1 after the first.
    statistics: Average BatchNorm's running statistics, too; else the teacher has its own.
  """

  decay: float = 0.999
  after_update: bool = False
  offset: int = 0
  statistics: bool = False


def update_rate(step: jax.Array, max_decay: float) -> jax.Array:
  """1 - a_t with a_t = min(1 - 1/(t+1), max_decay): how much of the student enters at step t.

  The ramp makes step 0 a copy of the student and step 1 the mean of both; with a `max_decay` of
  0.999 the cap is reached at step 999. (DAFormer's code; the paper keeps the decay constant.)
  """
  return jnp.maximum(1.0 / (step + 1.0), 1.0 - max_decay).astype(jnp.float32)


def update(teacher: Any, student: Any, step: jax.Array, max_decay: float) -> Any:
  """The next teacher parameters `a_t * teacher + (1 - a_t) * student`."""
  return optax.incremental_update(student, teacher, update_rate(step, max_decay))


def follow(
  teacher: dict[str, Any], student: dict[str, Any], step: jax.Array, rule: Rule
) -> dict[str, Any]:
  """The teacher's variables after one move; `batch_stats` stay the teacher's unless `rule` says so."""
  kinds = student.keys() if rule.statistics else {"params"}
  move = lambda kind: update(teacher[kind], student[kind], step + rule.offset, rule.decay)
  return {**teacher, **{kind: move(kind) for kind in kinds}}
