"""Every cell of the decoder's fused map against every other one (CLUDA)."""

from typing import Any, Literal

import jax

from jax_uda import losses
from jax_uda.ops import labels, resize
from jax_uda.step.context import Context, View
from jax_uda.step.objective import Objective, Result
from jax_uda.step.outputs import Outputs


def pixel_contrast(
  *,
  view: str,
  grid: tuple[int, int] = (65, 65),
  weighted: bool = False,
  weight: float = 1.0,
  pixel_order: Literal["aligned", "interleaved"] = "aligned",
  **options: Any,
) -> Objective:
  """The contrast of a view, sampled on a grid; on HRDA that of both resolutions.

  On HRDA the network needs CLUDA's feature weighter, whose output blends the two.

  Args:
    view: Name of the view.
    grid: (height, width) of the grid of cells.
    weighted: Whether the view's weights count (of pseudo-labels).
    weight: Factor of the term.
    pixel_order: The published code's is "interleaved", a mistake; see `losses.pixel_contrast`.
    **options: `ignore_is_class` and `exclude_things` as there; on HRDA also `outside_crop_weight` and
      `hr_mask_from_label`, see `losses.multires_pixel_contrast`.

  Raises:
    ValueError: When tracing: HRDA without a feature weighter.

  Source: CLUDA (Vayyat et al., 2022), reference code; golden `cluda/cl_grid`.
  """
  grid, options = tuple(grid), {"pixel_order": pixel_order, **options}

  def of_two(outputs: Outputs, data: View) -> jax.Array:
    heads = outputs.heads
    if "feature_weight" not in heads:
      raise ValueError(
        "CLUDA on HRDA blends two resolutions by a learned weight: set "
        "config.model.hrda.feature_weighter = True"
      )
    maps = losses.fused_grid(
      outputs.fused,
      heads["hr_fused"],
      heads["feature_weight"],
      data.label,
      heads["hr_box"],
      weights=data.weight if weighted else None,
      grid=grid,
    )
    return losses.multires_pixel_contrast(maps, **options)

  def of_one(outputs: Outputs, data: View) -> jax.Array:
    sample = lambda x: resize.bilinear(x, grid, align_corners=True)
    weights = jax.lax.stop_gradient(sample(data.weight[..., None])[..., 0]) if weighted else None
    label = labels.nearest_label(data.label, grid)
    return losses.pixel_contrast(sample(outputs.fused), label, weights=weights, **options)

  def apply(state, ctx: Context) -> Result:
    outputs = ctx.student(view)
    loss = (of_two if "hr_fused" in outputs.heads else of_one)(outputs, ctx.views[view])
    return Result(weight * loss, state, {})

  return Objective(lambda key: (), apply)
