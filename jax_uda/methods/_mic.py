"""MIC (Hoyer et al., CVPR 2023): the student predicts the pseudo-labels of a target with holes in it.

`masked` adds that to any method with a target view; `mic` adds it to DAFormer, as published. HRDA
is a setting of the network. Extra cost: one student pass.
"""

from typing import Any, Literal

import jax
import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.methods import extension
from jax_uda.methods._dacs import daformer
from jax_uda.methods.requirements import require_labels, require_views
from jax_uda.step.context import named_key
from jax_uda.step.method import Batch, Method, Task
from jax_uda.views import block_mask, self_training, strong


def masked(
  task: Task,
  method: Method,
  *,
  ratio: float = 0.7,
  block: int = 64,
  domains: Literal["target", "both"] = "target",
  augmentation: bool = True,
  jitter_strength: float = 0.2,
) -> Method:
  """`method` with the masked view and its cross-entropy, of weight 1.

  Args:
    task: The color that holes are filled with.
    method: Has the view `target`, with pseudo-labels and weights; for "both" also `source`.
    ratio: Expected share of the patches that are taken out.
    block: Side of a patch in pixels: 64 for crops of 1024, 32 for crops of 512.
    domains: "target": all target images (Cityscapes). "both": half of the batch are source images
      with their labels, the rest target images (ACDC, Dark Zurich).
    augmentation: Colour jitter and blur before masking; off if the target view has them already.
      The published setting for "both" is off.
    jitter_strength: Of the colour jitter.

  Raises:
    ValueError: An option is unknown, or `method` has no such view.
  """
  if domains not in ("target", "both"):
    raise ValueError(f"config.method.domains = {domains!r}; expected 'target' or 'both'.")
  require_labels(method, "masked", "target")

  def draw(key: jax.Array, batch: Batch):
    batch_size, *size = batch["source"]["image"].shape[:3]
    look = strong.draw(named_key(key, "look"), batch_size, strength=jitter_strength)
    holes = block_mask.draw(named_key(key, "holes"), batch_size, tuple(size), block)
    return {"look": strong.share_across_batch(look), "holes": holes}

  def views(draws, batch: Batch, teacher, found):
    del teacher
    require_views(found, "masked", "target", *(["source"] if domains == "both" else []))
    view = found["target"]
    if domains == "both":
      number = len(view.label)
      half = number // 2
      source = found["source"].replace(image=batch["source"]["image"])
      view = jax.tree.map(
        lambda s, t: jnp.concatenate([s[:half], t[: number - half]]), source, view
      )
    if augmentation:
      view = self_training.augmented(view, draws["look"])
    holes = draws["holes"][: len(view.label)]
    image = block_mask.apply(view.image, holes, ratio=ratio, color=task.mean_color)
    return {"masked": view.replace(image=image)}

  return extension.extend(
    method,
    "masked",
    draw=draw,
    views=views,
    terms={"masked": objectives.cross_entropy(view="masked")},
    calls={"masked": {"parts": ("decoder",)}},
  )


def mic(
  task: Task,
  *,
  mask_ratio: float = 0.7,
  mask_block: int = 64,
  masked_domains: Literal["target", "both"] = "target",
  masked_augmentation: bool = True,
  **settings: Any,
) -> Method:
  """MIC on DAFormer.

  Args:
    task: The classes, and the color that holes are filled with.
    mask_ratio: See `masked`; so are the next three.
    mask_block: See there.
    masked_domains: See there.
    masked_augmentation: See there.
    **settings: See `daformer`.
  """
  return masked(
    task,
    daformer(task, **settings),
    ratio=mask_ratio,
    block=mask_block,
    domains=masked_domains,
    augmentation=masked_augmentation,
    jitter_strength=settings.get("jitter_strength", 0.2),
  )
