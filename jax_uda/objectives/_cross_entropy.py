"""Cross-entropy of the student on a view."""

from typing import Literal

import jax
import jax.numpy as jnp

from jax_uda import losses
from jax_uda.ops import boxes, resize
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, split_groups, stateless


def cross_entropy(
  *,
  view: str,
  class_weights: jax.Array | None = None,
  temperature: float = 1.0,
  denominator: Literal["all", "valid"] = "all",
  align_corners: bool = False,
  groups: int = 1,
  detail_weight: float = 0.1,
  start_step: int = 0,
) -> Objective[tuple[()]]:
  """Weighted cross-entropy of the student's logits on `view` against the view's labels.

  The logits are resized to the label. On HRDA, whose training passes also report the logits of the
  detail crop, the loss is `1 - detail_weight` times that of the fused logits plus `detail_weight`
  times that of the detail's logits, against the labels in its box.

  Args:
    view: Name of the view.
    class_weights: [C] factor of each pixel's loss by its label, or None.
    temperature: Divides the logits.
    denominator: Mean over "all" pixels, ignored ones included, or over the "valid" ones; see
      `losses.weighted_cross_entropy`.
    align_corners: Corner alignment when logits are resized (SPCL, RCCR).
    groups: Splits the batch into this many groups and averages their losses, as the reference's
      per-GPU losses.
    detail_weight: Share of HRDA's detail (Hoyer et al., 2022b, Eq. 9).
    start_step: First step of the term.
  """

  def group_loss(logits: jax.Array, label: jax.Array, weight: jax.Array) -> jax.Array:
    return losses.weighted_cross_entropy(
      resize.bilinear(logits, size_of(label), align_corners) / temperature,
      label,
      weight,
      class_weights=class_weights,
      denominator=denominator,
    )

  def batch_loss(*pixels: jax.Array) -> jax.Array:
    if groups == 1:
      return group_loss(*pixels)
    return jnp.mean(jax.vmap(group_loss)(*(split_groups(x, groups) for x in pixels)))

  def loss(ctx: Context):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    data, outputs = ctx.views[view], ctx.student(view)
    logits = outputs.decoded.logits
    fused = batch_loss(logits, data.label, data.weight)
    if "hr_logits" not in outputs.heads:
      return fused, {}
    stride = data.label.shape[1] // logits.shape[1]
    height, width = size_of(outputs.heads["hr_logits"])
    crop = lambda x: boxes.crop(x, outputs.heads["hr_box"], (height * stride, width * stride))
    detail = batch_loss(outputs.heads["hr_logits"], crop(data.label), crop(data.weight))
    total = (1 - detail_weight) * fused + detail_weight * detail
    return total, {"fused": fused, "detail": detail}

  return stateless(loss, phases=(start_step,))
