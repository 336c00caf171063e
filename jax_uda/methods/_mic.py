"""MIC (Hoyer et al., CVPR 2023): the student predicts the teacher's pseudo-labels from a masked target image.

`add_masked` adds that to any method with a target view; `mic` adds it to DAFormer, as published. HRDA
is a setting of the network. Extra cost: one student pass.
"""

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jax_uda import objectives
from jax_uda.common.registry import SettingError
from jax_uda.methods import extension
from jax_uda.methods._dacs import daformer
from jax_uda.methods.requirements import require_labels, require_views
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Pass, named_key
from jax_uda.step.method import Batch, Method, Task, ViewMaker
from jax_uda.views import block_mask, self_training, strong
from jax_uda.views.self_training import SelfTraining


def add_masked(
  task: Task,
  method: Method,
  *,
  ratio: float = 0.7,
  block: int = 64,
  domains: Literal["target", "both"] = "target",
  augmentation: bool = True,
  jitter_strength: float = 0.2,
) -> Method:
  """`method` with the masked view and its cross-entropy, whose weight is 1.

  Args:
    task: Number of classes, and the mean color that fills the mask.
    method: A method with the view `target`, pseudo-labels and weights; for "both" also `source`.
    ratio: Expected share of the patches that are masked.
    block: Side of a patch in pixels: 64 for crops of 1024, 32 for crops of 512.
    domains: "target": all images are target images (Cityscapes). "both": half of the batch are
      source images with their labels, the rest target images (ACDC, Dark Zurich).
    augmentation: Whether images are jittered and blurred before masking; not if the target view is
      augmented already. The published setting for "both" is False.
    jitter_strength: Largest relative change of the color jitter.

  Raises:
    SettingError: An option is unknown, or `method` has no such view.
  """
  if domains not in ("target", "both"):
    raise SettingError("domains", f"= {domains!r}; expected 'target' or 'both'.")
  require_labels(method, "masked", "target")

  def draw(key: jax.Array, batch: Batch) -> dict[str, Any]:
    key = named_key(key, "masked")
    image = batch["source"]["image"]
    jitter = strong.draw(named_key(key, "look"), len(image), strength=jitter_strength)
    mask = block_mask.draw(named_key(key, "holes"), len(image), size_of(image), block)
    return {"augmentation": strong.share_across_batch(jitter), "mask": mask}

  def make(draws, batch: Batch, teacher, views):
    del teacher
    require_views(views, "masked", "target", *(["source"] if domains == "both" else []))
    view = views["target"]
    if domains == "both":
      number = len(view.label)
      half = number // 2
      source = views["source"].replace(image=batch["source"]["image"])
      view = jax.tree.map(
        lambda s, t: jnp.concatenate([s[:half], t[: number - half]]), source, view
      )
    if augmentation:
      view = self_training.augmented(view, draws["augmentation"])
    mask = draws["mask"][: len(view.label)]
    image = block_mask.apply(view.image, mask, ratio=ratio, color=task.mean_color)
    return {"masked": view.replace(image=image)}

  return extension.extend(
    method,
    "masked",
    views=ViewMaker(make, draw),
    terms={"masked": objectives.cross_entropy(view="masked")},
    passes={"masked": Pass(outputs=("decoder",))},
  )


def mic(
  task: Task,
  *,
  masked: Mapping[str, Any] = types.MappingProxyType({}),
  self_training: SelfTraining = SelfTraining(),
  feature_distance_weight: float = 0.005,
  thing_classes: Sequence[int] = (),
) -> Method:
  """MIC: DAFormer with masked target images.

  Args:
    task: Number and frequencies of the classes, and their mean color.
    masked: Keyword arguments of `add_masked`; the jitter is that of `self_training` by default.
    self_training: Pseudo-labels, mixing and augmentation.
    feature_distance_weight: Factor of the distance to the frozen initial encoder.
    thing_classes: Classes whose features are compared; by default those of Cityscapes.
  """
  method = daformer(
    task,
    self_training=self_training,
    feature_distance_weight=feature_distance_weight,
    thing_classes=thing_classes,
  )
  settings = {"jitter_strength": self_training.jitter_strength, **masked}
  return extension.add(add_masked, "method.masked", task, method, **settings)
