"""MinEnt (Vu et al., CVPR 2019): predictions of the target are to be sure of themselves.

Cross-entropy on the source, and the entropy of the target's predictions, with the details of HRDA's code
(Hoyer et al., ECCV 2022): logits are resized to the image, on HRDA to half of it, and only the fused ones
count. There are no pseudo-labels. Extra cost beside training on the source: one student pass.
"""

import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.methods._source_only import source_view_maker
from jax_uda.step.context import Pass, View
from jax_uda.step.method import Batch, Method, Task, ViewMaker


def min_entropy(
  task: Task,
  *,
  entropy_weight: float = 0.001,
  map_scale: float = 1.0,
  photometric_distortion: bool = True,
) -> Method:
  """MinEnt.

  Args:
    task: Not used; every method takes it.
    entropy_weight: Factor of the target's entropy.
    map_scale: Size of the maps whose entropy is taken, as a fraction of the image's; 0.5 on HRDA.
    photometric_distortion: Whether source images get the distortion of MMSegmentation.
  """
  del task
  return Method(
    views=plain_views(photometric_distortion),
    terms={
      "source": objectives.cross_entropy(view="source"),
      "entropy": objectives.entropy(view="target", weight=entropy_weight, scale=map_scale),
    },
    passes=lambda phase: {"target": Pass(outputs=("decoder",))},
    unlabelled=("target",),
  )


def plain_views(photometric_distortion: bool) -> dict[str, ViewMaker]:
  """Makes `source`, and `target` as it is, without labels."""

  def make(draws, batch: Batch, teacher, views) -> dict[str, View]:
    del draws, teacher, views
    image = batch["target"]["image"]
    shape = image.shape[:3]
    return {"target": View(image, jnp.full(shape, 255, jnp.int32), jnp.ones(shape, jnp.float32))}

  return {
    "source": source_view_maker(photometric_distortion=photometric_distortion),
    "target": ViewMaker(make),
  }
