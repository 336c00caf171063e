"""Class activation maps learnt from which classes an image holds."""

import jax.numpy as jnp

from jax_uda import losses
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def image_classes(*, view: str, head: str = "cam", start_step: int = 0) -> Objective[tuple[()]]:
  """`losses.image_class_cross_entropy` of the student's maps on `view` (CONFETI).

  Args:
    view: Name of a labelled view; weights of pixels play no part.
    head: The head that gives the maps.
    start_step: First step of the term.

  Source: CONFETI (Li et al., 2023); golden `confeti/train_step_stage*`.
  """

  def loss(ctx: Context):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    maps = ctx.student(view).heads[head]
    return losses.image_class_cross_entropy(maps, ctx.views[view].label), {}

  return stateless(loss, phases=(start_step,))
