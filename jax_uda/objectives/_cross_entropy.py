"""Cross-entropy of the student on a view, as an objective."""

from typing import Literal

import jax
import jax.numpy as jnp

from jax_uda import losses
from jax_uda.ops import boxes, resize
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, Result, split_groups


def cross_entropy(
  *,
  view: str,
  class_weights: jax.Array | None = None,
  temperature: float = 1.0,
  denominator: Literal["all", "valid"] = "all",
  align_corners: bool = False,
  groups: int = 1,
  detail_weight: float = 0.1,
) -> Objective:
  """Weighted cross-entropy of the student's logits on `view` against the view's labels.

  The logits are resized to the label. On HRDA, whose training passes also report the logits of the
  detail crop, `1 - detail_weight` of the loss is that of the fused logits and the rest that of the
  detail's, against the labels in its box.

  Args:
    view: Name of the view.
    class_weights: [C] factor of each pixel's loss by its label, or None.
    temperature: Divides the logits.
    denominator: Mean over "all" pixels, ignored ones included, or over the "valid" ones; see
      `losses.weighted_cross_entropy`.
    align_corners: Of the resizing of the logits (SPCL, RCCR).
    groups: Parts of the batch whose losses are averaged, as the replicas of a reference.
    detail_weight: Of HRDA's detail (Hoyer et al., 2022b, Eq. 9).
  """

  def of_group(logits: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    return losses.weighted_cross_entropy(
      resize.bilinear(logits, label.shape[1:], align_corners) / temperature,
      label,
      weight,
      class_weights=class_weights,
      denominator=denominator,
    )

  def of(*pixels: jax.Array) -> jax.Array:
    if groups == 1:
      return of_group(*pixels)
    return jnp.mean(jax.vmap(of_group)(*(split_groups(x, groups) for x in pixels)))

  def apply(state, ctx: Context) -> Result:
    data, outputs = ctx.views[view], ctx.student(view)
    loss = of(outputs.logits, data.label, data.weight)
    if "hr_logits" not in outputs.heads:
      return Result(loss, state, {})
    stride = data.label.shape[1] // outputs.logits.shape[1]
    size = tuple(side * stride for side in outputs.heads["hr_logits"].shape[1:3])
    crop = lambda x: boxes.crop(x, outputs.heads["hr_box"], size)
    detail = of(outputs.heads["hr_logits"], crop(data.label), crop(data.weight))
    total = (1 - detail_weight) * loss + detail_weight * detail
    return Result(total, state, {"fused": loss, "detail": detail})

  return Objective(lambda key: (), apply)
