"""CLUDA (Vayyat et al., 2022): contrast of all pixels of the decoder's fused map, on source and mix.

`pixel_contrasted` adds it to any method with a mixed view, `entropy_cropped` moves HRDA's detail of the
mixed images to where the prediction is least certain, `cluda` adds both to DAFormer. On HRDA with
a feature weighter the contrast is that of two resolutions, as published. No extra pass.
"""

from typing import Any, Literal

import jax

from jax_uda import objectives
from jax_uda.methods import extension
from jax_uda.methods._dacs import dacs, daformer
from jax_uda.methods.requirements import require_views
from jax_uda.step.method import Method, Task
from jax_uda.views import entropy_crop


def pixel_contrasted(
  task: Task,
  method: Method,
  *,
  grid: tuple[int, int] = (65, 65),
  contrast_weight: float = 1.0,
  pixel_order: Literal["aligned", "interleaved"] = "aligned",
  **options: Any,
) -> Method:
  """`method` with the contrasts of its source and mixed views.

  Args:
    task: The classes and the standardisation.
    method: Has the views `source` and `mixed`.
    grid: (height, width) of the grid of cells; memory grows with the square of its cells.
    contrast_weight: Factor of both terms.
    pixel_order: "interleaved" repeats a mistake of the published code; see
      `losses.pixel_contrast`.
    **options: See `objectives.pixel_contrast`.

  Raises:
    TypeError: A setting is unknown.
  """
  del task
  term = lambda view: objectives.pixel_contrast(
    view=view,
    grid=grid,
    weighted=view == "mixed",
    weight=contrast_weight,
    pixel_order=pixel_order,
    **options,
  )
  terms = {"contrast_source": term("source"), "contrast_mixed": term("mixed")}

  def no_more(draws, batch, teacher, found):
    require_views(found, "pixel_contrasted", "source", "mixed")
    return {}

  return extension.extend(method, "pixel_contrasted", terms=terms, views=no_more)


def most_uncertain(
  logits: jax.Array, image_size: tuple[int, int], crop_size: tuple[int, int]
) -> jax.Array:
  """[B,4] boxes of HRDA's detail: the half-overlapping window of largest entropy of each image."""
  stride = tuple(side // 2 for side in crop_size)
  return entropy_crop.entropy_boxes(logits, image_size, crop_size=crop_size, stride=stride)


def entropy_cropped(task: Task, method: Method, *, start_step: int = 12001) -> Method:
  """`method` whose mixed view gets HRDA's detail where the context's prediction is least certain.

  The published code asks the decoder for that prediction in a pass of its own, which updates its
  BatchNorm once more; here it is that of the pass itself.

  Args:
    task: The classes and the standardisation.
    method: Has the view `mixed`.
    start_step: First step; the detail lies at random before.
  """
  del task

  def calls(phase_start: int):
    found = dict(method.calls(phase_start))
    if phase_start >= start_step:
      found["mixed"] = {**found.get("mixed", {}), "crop_box": most_uncertain}
    return found

  def views(draws, batch, teacher):
    found = method.views(draws, batch, teacher)
    require_views(found, "entropy_cropped", "mixed")
    return found

  gates = tuple(sorted({*method.gates, start_step}))
  return method._replace(calls=calls, views=views, gates=gates)


def cluda(task: Task, *, entropy_crop_start: int = 0, **settings: Any) -> Method:
  """CLUDA on DAFormer.

  Args:
    task: The classes and the standardisation.
    entropy_crop_start: First step of the entropy crops, 12001 as published; 0 = none, as on a
      network at one resolution.
    **settings: See `daformer` and `pixel_contrasted`.
  """
  base, own = extension.split_settings(settings, daformer, dacs)
  method = pixel_contrasted(task, daformer(task, **base), **own)
  return (
    entropy_cropped(task, method, start_step=entropy_crop_start) if entropy_crop_start else method
  )
