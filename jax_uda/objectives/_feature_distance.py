"""Distance of the student's encoder features from those of the frozen initial network."""

from collections.abc import Sequence

import jax.numpy as jnp

from jax_uda import losses
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, Result


def feature_distance(
  *,
  view: str,
  num_classes: int,
  thing_classes: Sequence[int],
  weight: float = 0.005,
  min_ratio: float = 0.75,
  reference_view: str = "",
) -> Objective:
  """Keeps the last encoder map near the ImageNet features on thing classes (DAFormer).

  Args:
    view: Name of a labelled view.
    num_classes: Number of classes, C.
    thing_classes: Classes whose cells count.
    weight: Factor of the loss.
    min_ratio: Share of a cell's pixels that its majority class must hold.
    reference_view: What the frozen network looks at: the same images before a translation; if not
      given, `view`.

  Source: DAFormer (Hoyer et al., CVPR 2022); golden `base/feature_distance`.
  """

  def apply(state, ctx: Context) -> Result:
    features = ctx.student(view).features[-1]
    distance = losses.feature_distance(
      features,
      ctx.reference(reference_view or view)[-1],
      ctx.views[view].label,
      thing_classes=thing_classes,
      num_classes=num_classes,
      min_ratio=min_ratio,
    )
    return Result(jnp.float32(weight) * distance, state, {})

  return Objective(lambda key: (), apply)
