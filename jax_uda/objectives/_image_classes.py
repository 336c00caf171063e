"""Class activation maps learnt from which classes an image holds."""

from collections.abc import Sequence

import jax.numpy as jnp

from jax_uda import losses
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def image_classes(
  *, view: str, heads: Sequence[str] = ("cam",), weight: float = 1.0, start_step: int = 0
) -> Objective[tuple[()]]:
  """`losses.image_class_cross_entropy` of the student's maps on `view` (CONFETI).

  Args:
    view: Name of a labelled view; weights of pixels play no part.
    heads: The heads that give maps, one for each level of the encoder; their losses are averaged.
    weight: Factor of the loss.
    start_step: First step of the term.

  Source: CONFETI (Li et al., 2023); golden `confeti/train_step_stage*`, `confetii/train_steps_*`.
  """

  def loss(ctx: Context):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    outputs, label = ctx.student(view).heads, ctx.views[view].label
    values = [losses.image_class_cross_entropy(outputs[head], label) for head in heads]
    return weight * jnp.mean(jnp.stack(values)), {}

  return stateless(loss, phases=(start_step,))
