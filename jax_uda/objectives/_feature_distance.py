"""Distance of the student's encoder features from those of the frozen initial network."""

from collections.abc import Sequence

import jax.numpy as jnp

from jax_uda import losses
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def feature_distance(
  *,
  view: str,
  num_classes: int,
  thing_classes: Sequence[int],
  weight: float = 0.005,
  min_ratio: float = 0.75,
  reference_view: str | None = None,
  start_step: int = 0,
) -> Objective[tuple[()]]:
  """Keeps the last encoder map near the ImageNet features on thing classes (DAFormer).

  Args:
    view: Name of a labelled view.
    num_classes: Number of classes, C.
    thing_classes: Classes whose cells count.
    weight: Factor of the loss.
    min_ratio: Share of a cell's pixels that its majority class must hold.
    reference_view: View of the frozen network, e.g. the same images before a translation; None = `view`.
    start_step: First step of the term.

  Source: DAFormer (Hoyer et al., CVPR 2022); golden `base/feature_distance`.
  """

  def loss(ctx: Context):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    distance = losses.feature_distance(
      ctx.student(view).features[-1],
      ctx.reference(reference_view or view)[-1],
      ctx.views[view].label,
      thing_classes=thing_classes,
      num_classes=num_classes,
      min_ratio=min_ratio,
    )
    return jnp.float32(weight) * distance, {}

  return stateless(loss, phases=(start_step,))
