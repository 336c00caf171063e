"""Cross-entropy of the student on a view, as an objective."""

import jax

from jax_uda import losses, resize
from jax_uda.context import Context
from jax_uda.objectives.base import Objective, Result


def cross_entropy(*, view: str, class_weights: jax.Array | None = None) -> Objective:
  """Weighted cross-entropy of the student's logits on `view` against the view's labels.

  The logits are resized to the label; the mean is over *all* pixels, ignored ones included.

  Args:
    view: Name of the view.
    class_weights: [C] factor of each pixel's loss by its label, or None.
  """

  def apply(state, ctx: Context) -> Result:
    data = ctx.views[view]
    logits = resize.bilinear(ctx.student(view).logits, data.label.shape[1:])
    loss = losses.weighted_cross_entropy(
      logits, data.label, data.weight, class_weights=class_weights
    )
    return Result(loss, state, {})

  return Objective(lambda key: (), apply)
