"""Predictions of the target that are sure of themselves (ADVENT's MinEnt)."""

from jax_uda import losses
from jax_uda.ops import resize
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def entropy(
  *, view: str = "target", weight: float = 0.001, scale: float = 1.0, align_corners: bool = False
) -> Objective[tuple[()]]:
  """`losses.entropy` of the student's predictions on `view`, resized to the image.

  Args:
    view: Name of the view; its labels play no part.
    weight: Factor of the term.
    scale: Size of the predictions as a fraction of the image's; HRDA's code has 0.5.
    align_corners: Corner alignment when the logits are resized.

  Source: ADVENT (Vu et al., CVPR 2019), section 3.1.
  """

  def loss(ctx: Context):
    data = ctx.views[view]
    size = scaled_size(data.image, scale)
    logits = resize.bilinear(ctx.student(view).decoded.logits, size, align_corners)
    pixels = resize.nearest(data.weight[..., None], size)[..., 0]
    return weight * losses.entropy(logits, pixels), {}

  return stateless(loss)


def scaled_size(image, scale: float) -> resize.Size:
  """(height, width) of `image` [B,H,W,3] times `scale`, rounded down, but at least 1."""
  height, width = resize.size_of(image)
  return max(int(height * scale), 1), max(int(width * scale), 1)
