"""Distance of the student's projected map from the features of a frozen foundation model."""

import jax.numpy as jnp

from jax_uda import losses
from jax_uda.ops import resize
from jax_uda.step.context import Context
from jax_uda.step.objective import Objective, stateless


def foundation_distance(
  *,
  view: str,
  reference_view: str,
  weight: float = 0.1,
  smooth_l1_weight: float = 0.1,
  cosine_weight: float = 0.9,
  head: str = "distance",
) -> Objective[tuple[()]]:
  """Keeps a projection of the student's coarsest map near the foundation model's map of all cells.

  The student's map is resized to the foundation model's.

  Args:
    view: Name of the view that the student sees.
    reference_view: Name of the view that the foundation model sees, the same images without jitter.
    weight: Factor of the loss.
    smooth_l1_weight: Factor of the smooth L1 distance in it.
    cosine_weight: Factor of the cosine distance in it.
    head: Name of the head that projects.

  Source: VFM-UDA++ (Englert and Dubbelman, ICCVW 2025); golden `vfm_plus/feature_distance_vfm`.
  """

  def loss(ctx: Context):
    reference = ctx.foundation(reference_view)
    projected = resize.bilinear(ctx.student(view).heads[head], resize.size_of(reference))
    distance = losses.foundation_distance(
      projected, reference, smooth_l1_weight=smooth_l1_weight, cosine_weight=cosine_weight
    )
    return jnp.float32(weight) * distance, {}

  return stateless(loss)
