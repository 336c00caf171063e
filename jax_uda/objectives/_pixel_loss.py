"""Any loss of embeddings and labels, as a term of training."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jax_uda.ops import labels, resize
from jax_uda.ops.resize import Size, size_of
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def pixel_loss(
  kernel: Callable[..., jax.Array],
  *,
  view: str,
  head: str | None = None,
  grid: Size | None = None,
  weight: float = 1.0,
  start_step: int = 0,
) -> Objective[tuple[()]]:
  """`kernel(embeddings, labels, weights=...)` of the student on a view.

  Args:
    kernel: A loss of embeddings [B,h,w,A], labels [B,h,w] (255 = ignore) and weights [B,h,w], such as
      `losses.pixel_contrast`; it returns a scalar.
    view: Name of the view.
    head: The head that gives the embeddings; None = the decoder's map before its classifier.
    grid: (height, width) to which the embeddings are resized first; None = they stay as they are.
    weight: Factor of the term.
    start_step: First step of the term.
  """

  def loss(ctx: Context):
    if not ctx.started(start_step):
      return jnp.float32(0), {}
    data, outputs = ctx.views[view], ctx.student(view)
    embeddings = outputs.heads[head] if head else outputs.decoded.fused
    if grid is not None:
      embeddings = resize.bilinear(embeddings, (grid[0], grid[1]), align_corners=True)
    size = size_of(embeddings)
    weights = resize.nearest(data.weight[..., None], size)[..., 0]
    value = kernel(embeddings, labels.nearest_label(data.label, size), weights=weights)
    return weight * value, {"loss": value}

  return stateless(loss, phases=(start_step,))
