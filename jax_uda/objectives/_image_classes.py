"""Class activation maps learnt from which classes an image holds."""

import jax.numpy as jnp

from jax_uda import losses
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, Result


def image_classes(*, view: str, head: str = "cam", start_step: int = 0) -> Objective:
  """`losses.image_class_cross_entropy` of the student's maps on `view` (CONFETI).

  Args:
    view: Name of a labelled view; weights of pixels play no part.
    head: The head that gives the maps.
    start_step: The first step; a gate of the method.

  Source: CONFETI (Li et al., 2023); golden `confeti/train_step_stage*`.
  """

  def apply(state, ctx: Context) -> Result:
    if not ctx.started(start_step):
      return Result(jnp.float32(0), state, {})
    maps = ctx.student(view).heads[head]
    return Result(losses.image_class_cross_entropy(maps, ctx.views[view].label), state, {})

  return Objective(lambda key: (), apply)
