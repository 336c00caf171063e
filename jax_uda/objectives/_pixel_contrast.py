"""Every cell of the decoder's fused map against every other one (CLUDA)."""

import functools
from collections.abc import Sequence
from typing import Literal, cast

import jax

from jax_uda import losses
from jax_uda.common.registry import SettingError
from jax_uda.ops import labels, resize
from jax_uda.step.context import Context, View
from jax_uda.step.objective import Objective, stateless
from jax_uda.step.outputs import Outputs


def pixel_contrast(
  *,
  view: str,
  grid: tuple[int, int] = (65, 65),
  weighted: bool = False,
  weight: float = 1.0,
  pixel_order: Literal["aligned", "interleaved"] = "aligned",
  ignore_is_class: bool = True,
  exclude_things: Sequence[int] = (),
  outside_crop_weight: float = 0.0,
  hr_mask_from_label: bool = True,
) -> Objective[tuple[()]]:
  """Contrasts all cells of a view, sampled on a grid; on HRDA in both resolutions.

  On HRDA the network needs CLUDA's feature weighter, whose output blends the two.

  Args:
    view: Name of the view.
    grid: (height, width) of the grid of cells.
    weighted: Whether the view's weights, those of pseudo-labels, count.
    weight: Factor of the term.
    pixel_order: The published code's is "interleaved", a mistake; see `losses.pixel_contrast`.
    ignore_is_class: Whether pixels labelled 255 are a class of their own, as published.
    exclude_things: Classes whose pixels are no anchors; other anchors are still contrasted with them.
    outside_crop_weight: On HRDA, see `losses.multires_pixel_contrast`.
    hr_mask_from_label: On HRDA, see `losses.multires_pixel_contrast`.

  Raises:
    SettingError: When tracing, on HRDA without a feature weighter.

  Source: CLUDA (Vayyat et al., 2022), reference code; golden `cluda/cl_grid`.
  """
  size = (grid[0], grid[1])
  one_contrast = functools.partial(
    losses.pixel_contrast,
    pixel_order=pixel_order,
    ignore_is_class=ignore_is_class,
    exclude_things=exclude_things,
  )
  two_contrast = functools.partial(
    losses.multires_pixel_contrast,
    pixel_order=pixel_order,
    ignore_is_class=ignore_is_class,
    exclude_things=exclude_things,
    outside_crop_weight=outside_crop_weight,
    hr_mask_from_label=hr_mask_from_label,
  )

  def two_resolutions(outputs: Outputs, data: View) -> jax.Array:
    heads = outputs.heads
    if "feature_weight" not in heads:
      raise SettingError(
        "model.hrda.feature_weighter",
        "= False: CLUDA on HRDA blends two resolutions by a learned weight; set it to True.",
      )
    maps = losses.fused_grid(
      outputs.decoded.fused,
      heads["hr_fused"],
      heads["feature_weight"],
      data.label,
      heads["hr_box"],
      weights=data.weight if weighted else None,
      grid=size,
    )
    return cast(jax.Array, two_contrast(maps))  # without `return_parts`

  def one_resolution(outputs: Outputs, data: View) -> jax.Array:
    sample = lambda x: resize.bilinear(x, size, align_corners=True)
    weights = jax.lax.stop_gradient(sample(data.weight[..., None])[..., 0]) if weighted else None
    label = labels.nearest_label(data.label, size)
    return one_contrast(sample(outputs.decoded.fused), label, weights=weights)

  def loss(ctx: Context):
    outputs = ctx.student(view)
    contrast = two_resolutions if "hr_fused" in outputs.heads else one_resolution
    return weight * contrast(outputs, ctx.views[view]), {}

  return stateless(loss)
