"""CLUDA (Vayyat et al., 2022): contrast of all pixels of the decoder's fused map, on source and mix.

`add_pixel_contrasted` adds it to any method with the views `source` and `mixed`, `add_entropy_cropped` moves
HRDA's detail of the mixed images to where the prediction is least certain, `cluda` adds both to DAFormer.
On HRDA with a feature weighter two resolutions are contrasted, as published. There is no extra pass.
"""

import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax

from jax_uda import objectives
from jax_uda.methods import extension
from jax_uda.methods._dacs import daformer
from jax_uda.methods.requirements import require_views
from jax_uda.step.context import Pass
from jax_uda.step.method import Method, Task, ViewMaker
from jax_uda.views import entropy_crop
from jax_uda.views.self_training import SelfTraining


def _requires(name: str, *wanted: str) -> ViewMaker:
  """Makes no view; refuses a method that lacks the views `wanted`."""

  def make(draws, batch, teacher, views):
    del draws, batch, teacher
    require_views(views, name, *wanted)
    return {}

  return ViewMaker(make)


def add_pixel_contrasted(
  task: Task,
  method: Method,
  *,
  grid: tuple[int, int] = (65, 65),
  weight: float = 1.0,
  pixel_order: Literal["aligned", "interleaved"] = "aligned",
  ignore_is_class: bool = True,
  exclude_things: Sequence[int] = (),
  outside_crop_weight: float = 0.0,
  hr_mask_from_label: bool = True,
) -> Method:
  """`method` with the contrasts of its source and mixed views.

  Args:
    task: Not used; every component takes it.
    method: A method with the views `source` and `mixed`.
    grid: (height, width) of the grid of cells; memory grows with the square of its cells.
    weight: Factor of both terms.
    pixel_order: "interleaved" repeats a mistake of the published code; see `losses.pixel_contrast`.
    ignore_is_class: Whether pixels labelled 255 are a class of their own, as published.
    exclude_things: Classes whose pixels are no anchors; other anchors are still contrasted with them.
    outside_crop_weight: On HRDA, see `losses.multires_pixel_contrast`.
    hr_mask_from_label: On HRDA, see `losses.multires_pixel_contrast`.
  """
  del task

  term = lambda view: objectives.pixel_contrast(
    view=view,
    grid=grid,
    weighted=view == "mixed",
    weight=weight,
    pixel_order=pixel_order,
    ignore_is_class=ignore_is_class,
    exclude_things=exclude_things,
    outside_crop_weight=outside_crop_weight,
    hr_mask_from_label=hr_mask_from_label,
  )
  return extension.extend(
    method,
    "pixel_contrasted",
    terms={"contrast_source": term("source"), "contrast_mixed": term("mixed")},
    views=_requires("pixel_contrasted", "source", "mixed"),
  )


def most_uncertain(
  logits: jax.Array, image_size: tuple[int, int], crop_size: tuple[int, int]
) -> jax.Array:
  """[B,4] boxes of HRDA's detail: the half-overlapping window of largest entropy of each image."""
  stride = (crop_size[0] // 2, crop_size[1] // 2)
  return entropy_crop.entropy_boxes(logits, image_size, crop_size=crop_size, stride=stride)


def add_entropy_cropped(task: Task, method: Method, *, start_step: int = 12001) -> Method:
  """`method` whose mixed view gets HRDA's detail where the context's prediction is least certain.

  The published code asks the decoder for that prediction in a pass of its own, which updates its
  BatchNorm once more; here it is the prediction of the pass itself.

  Args:
    task: Not used; every component takes it.
    method: A method with the view `mixed`.
    start_step: First step; the detail lies at random before.
  """
  del task

  def passes(phase: int) -> dict[str, Pass]:
    options = dict(method.passes(phase))
    if phase >= start_step:
      mixed = options.get("mixed", Pass())
      options["mixed"] = mixed._replace(inputs={**mixed.inputs, "crop_box": most_uncertain})
    return options

  name = "entropy_cropped"
  return method._replace(
    passes=passes,
    views={**method.views, name: _requires(name, "mixed")},
    extra_phases=(*method.extra_phases, start_step),
  )


def cluda(
  task: Task,
  *,
  pixel_contrasted: Mapping[str, Any] = types.MappingProxyType({}),
  entropy_cropped: Mapping[str, Any] | None = None,
  self_training: SelfTraining = SelfTraining(),
  feature_distance_weight: float = 0.005,
  thing_classes: Sequence[int] = (),
) -> Method:
  """CLUDA: DAFormer with the contrast of all pixels.

  Args:
    task: Number and frequencies of the classes.
    pixel_contrasted: Keyword arguments of `add_pixel_contrasted`.
    entropy_cropped: Keyword arguments of `add_entropy_cropped`, as published on HRDA; None = no
      entropy crops, as on a network at one resolution.
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
  method = extension.add(
    add_pixel_contrasted, "method.pixel_contrasted", task, method, **pixel_contrasted
  )
  if entropy_cropped is None:
    return method
  return extension.add(
    add_entropy_cropped, "method.entropy_cropped", task, method, **entropy_cropped
  )
