"""SPCL (Xie et al., 2021): pixels classified by their similarity to source prototypes of the classes.

`similarity` adds the contrast to any method with views of both domains; `spcl` adds it to DACS. The
published method has stages instead of a teacher, see `spcl_stages`; that the teacher labels the target,
that a threshold of one constant decides, and the contrast of the mixed view are ours.
"""

from typing import Any, Literal

from jax_uda import objectives
from jax_uda.methods import extension
from jax_uda.methods._dacs import dacs
from jax_uda.methods.requirements import require_views
from jax_uda.step.context import View
from jax_uda.step.method import Batch, Method, Task
from jax_uda.views.pseudo_labels import pseudo_label

VIEW = "similarity_target"


def similarity(
  task: Task,
  method: Method,
  *,
  feature_dim: int,
  target: Literal["mixed", "target"] = "mixed",
  threshold: float = 0.968,
  ignore_top: int = 0,
  ignore_bottom: int = 0,
  start_step: int = 0,
  survey: bool = True,
  **contrast: Any,
) -> Method:
  """`method` with prototypes of the decoder's map and the contrast with them.

  Args:
    task: The number of classes.
    method: Has the view `source` and, for "mixed", that one too, without further heads' needs.
    feature_dim: Channels of the decoder's map before its classifier: 2048 of DeepLabV2 on ResNet-101,
      256 of DAFormer.
    target: What is contrasted beside the source: the "mixed" view with its labels, at no further pass;
      or the "target" image with those teacher's labels that are confident, at one student pass.
    threshold: Least probability of such a label.
    ignore_top: Rows at the top of the target's images whose labels weigh 0.
    ignore_bottom: Rows at the bottom, likewise.
    start_step: The contrast starts here.
    survey: Start from the prototypes of the whole source, by one pass before the first step; else
      from the first batch with each class. From a random network, and for a later start, the latter
      is as good.
    **contrast: See `objectives.similarity_contrast`.

  Raises:
    ValueError: An option is unknown, `method` has no such view, or crops the target itself.
  """
  if target not in ("mixed", "target"):
    raise ValueError(f"config.method.target = {target!r}; expected 'mixed' or 'target'.")
  name = "mixed" if target == "mixed" else VIEW

  def views(draws, batch: Batch, teacher, found: dict[str, View]) -> dict[str, View]:
    del draws
    require_views(found, "similarity", "source", *(["mixed"] if target == "mixed" else []))
    if target == "mixed":
      return {}
    image = batch["target"]["image"]
    if "target" in found and found["target"].image.shape != image.shape:
      raise ValueError(
        "config.method.crop_target = True: similarity learns from the images of the data set. Set "
        "crop_target = False and config.data.crop_target = True, or similarity's target = 'mixed'."
      )
    labelled = pseudo_label(
      teacher("target", image).logits,
      image.shape[1:3],
      threshold=threshold,
      ignore_top=ignore_top,
      ignore_bottom=ignore_bottom,
      valid=batch["target"].get("valid"),
      per_pixel=True,
    )
    return {VIEW: View(image, labelled.label, labelled.weight)}

  size = dict(num_classes=task.num_classes, dim=feature_dim)
  term = objectives.similarity_contrast(target=name, start_step=start_step, **size, **contrast)
  return extension.extend(
    method,
    "similarity",
    views=views,
    terms={"similarity": term},
    calls={VIEW: {"parts": ("decoder",)}} if target == "target" else None,
    gates=(start_step,),
    surveys={"similarity": objectives.prototype_survey(**size)} if survey else None,
  )


def spcl(task: Task, *, feature_dim: int, **settings: Any) -> Method:
  """SPCL on DACS.

  Args:
    task: The number of classes.
    feature_dim: See `similarity`.
    **settings: Of `dacs`, of `similarity` and of `objectives.similarity_contrast`.
  """
  base, own = extension.split_settings(settings, dacs)
  rows = {name: base[name] for name in ("ignore_top", "ignore_bottom") if name in base}
  return similarity(task, dacs(task, **base), feature_dim=feature_dim, **rows, **own)
