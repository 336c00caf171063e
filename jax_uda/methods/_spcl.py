"""SPCL (Xie et al., 2021): pixels classified by their similarity to source prototypes of the classes.

`add_similarity` adds the contrast to any method with views of both domains; `spcl` adds it to DACS. The
published method has stages instead of a teacher, see `spcl_warm_up` and what follows it. Three things are
ours: the teacher labels the target, one constant is the threshold of all classes, and the mixed view can
be contrasted.
"""

import types
from collections.abc import Mapping
from typing import Any, Literal

from jax_uda import objectives
from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.methods import extension
from jax_uda.methods._dacs import dacs
from jax_uda.methods.requirements import require_views
from jax_uda.ops.resize import size_of
from jax_uda.step.context import Pass, View
from jax_uda.step.method import Batch, Method, Task, ViewMaker
from jax_uda.views.pseudo_labels import pseudo_label
from jax_uda.views.self_training import SelfTraining

VIEW = "similarity_target"


def _mixed_view() -> ViewMaker:
  """Makes no view: the contrast takes the mixed view as it is."""

  def make(draws, batch: Batch, teacher, views: dict[str, View]) -> dict[str, View]:
    del draws, batch, teacher
    require_views(views, "similarity", "source", "mixed")
    return {}

  return ViewMaker(make)


def _target_view(threshold: float, ignore_top: int, ignore_bottom: int) -> ViewMaker:
  """Makes the un-mixed target with the teacher's labels, of which the confident ones count."""

  def make(draws, batch: Batch, teacher, views: dict[str, View]) -> dict[str, View]:
    del draws
    require_views(views, "similarity", "source")
    image = batch["target"]["image"]
    if "target" in views and views["target"].image.shape != image.shape:
      raise SettingError(
        "method.crop_target",
        "= True: similarity learns from the images of the data set. Set crop_target = False and "
        "config.data.crop_target = True, or similarity's target = 'mixed'.",
      )
    pseudo = pseudo_label(
      teacher("target", image).decoded.logits,
      size_of(image),
      threshold=threshold,
      ignore_top=ignore_top,
      ignore_bottom=ignore_bottom,
      valid=batch["target"].get("valid"),
      per_pixel=True,
    )
    return {VIEW: View(image, pseudo.label, pseudo.weight)}

  return ViewMaker(make)


def add_similarity(
  task: Task,
  method: Method,
  *,
  feature_dim: int,
  target: Literal["mixed", "target"] = "mixed",
  threshold: float = 0.968,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  start_step: int = 0,
  source_pass: bool = True,
  contrast: Mapping[str, Any] = types.MappingProxyType({}),
) -> Method:
  """`method` with prototypes of the decoder's map and the contrast with them.

  Args:
    task: The number of classes.
    method: A method with a `source` view and, if `target="mixed"`, a `mixed` view.
    feature_dim: Channels of the decoder's map before its classifier: 2048 for DeepLabV2 on ResNet-101,
      256 for DAFormer.
    target: What is contrasted beside the source: the "mixed" view with its labels, at no further pass;
      or the "target" image with those teacher's labels that are confident, at one student pass.
    threshold: Least probability of such a label.
    ignore_top: Number of rows at the top of the target's images whose labels weigh 0.
    ignore_bottom: Number of rows at the bottom whose labels weigh 0.
    start_step: First step of the contrast.
    source_pass: Whether to start from the prototypes of the whole source, by one pass before the
      first step; else from the first batch with each class. From a random network, and for a later
      start, the latter is as good.
    contrast: Further keyword arguments of `objectives.similarity_contrast`.

  Raises:
    SettingError: An option is unknown, `method` has no such view, or crops the target itself.
  """
  if target not in ("mixed", "target"):
    raise SettingError("target", f"= {target!r}; expected 'mixed' or 'target'.")
  term = registry.call(
    objectives.similarity_contrast,
    "contrast",
    target="mixed" if target == "mixed" else VIEW,
    num_classes=task.num_classes,
    dim=feature_dim,
    start_step=start_step,
    source_pass=source_pass,
    **contrast,
  )
  own_target = target == "target"
  return extension.extend(
    method,
    "similarity",
    views=_target_view(threshold, ignore_top, ignore_bottom) if own_target else _mixed_view(),
    terms={"similarity": term},
    passes={VIEW: Pass(outputs=("decoder",))} if own_target else {},
  )


def spcl(
  task: Task,
  *,
  feature_dim: int,
  self_training: SelfTraining = SelfTraining(),
  similarity: Mapping[str, Any] = types.MappingProxyType({}),
) -> Method:
  """SPCL on DACS.

  Args:
    task: Number and frequencies of the classes.
    feature_dim: Channels of the decoder's map before its classifier.
    self_training: Pseudo-labels, mixing and augmentation.
    similarity: Further keyword arguments of `add_similarity`; the margins are those of
      `self_training` by default.
  """
  margins = dict(ignore_top=self_training.ignore_top, ignore_bottom=self_training.ignore_bottom)
  return extension.add(
    add_similarity,
    "method.similarity",
    task,
    dacs(task, self_training=self_training),
    feature_dim=feature_dim,
    **(margins | dict(similarity)),
  )
