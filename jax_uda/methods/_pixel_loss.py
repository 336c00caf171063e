"""Any loss of embeddings and labels on top of any method, chosen by its name.

config.method.also = {"pixel_loss": {"loss": "pixel_contrast", "grid": (33, 65), "weight": 0.1}}
config.method.also = {"pixel_loss": {"loss": "my_module:my_loss", "views": ("source", "mixed")}}
"""

import functools
import inspect
import types
from collections.abc import Mapping, Sequence
from typing import Any

from jax_uda import losses, objectives
from jax_uda.common import registry
from jax_uda.methods import extension
from jax_uda.methods.requirements import require_views
from jax_uda.models.heads.projection import LinearProjectionHead
from jax_uda.ops.resize import Size
from jax_uda.step.method import Method, Task, ViewMaker

HEAD = "pixel_loss"


def _takes_pixels(loss: Any) -> bool:
  """Whether embeddings, labels and their weights are all that a loss needs."""
  if not inspect.isfunction(loss):
    return False
  parameters = inspect.signature(loss).parameters
  needed = [name for name, each in parameters.items() if each.default is each.empty]
  return needed == ["embeddings", "labels"] and "weights" in parameters


KERNELS = {name: loss for name in losses.__all__ if _takes_pixels(loss := getattr(losses, name))}


def add_pixel_loss(
  task: Task,
  method: Method,
  *,
  loss: str,
  views: Sequence[str] = ("mixed",),
  embedding_dim: int = 0,
  grid: Size | None = None,
  weight: float = 0.1,
  start_step: int = 0,
  options: Mapping[str, Any] = types.MappingProxyType({}),
) -> Method:
  """`method` with a loss of the embeddings of some views.

  Args:
    task: Not used; every component takes it.
    method: A method with these views.
    loss: The name of a loss in `jax_uda.losses` that needs embeddings, labels and weights alone, or
      "module:name" of a loss of one's own, see `objectives.pixel_loss`.
    views: Names of the views, each with a term of its own.
    embedding_dim: Channels of a linear projection head that gives the embeddings; 0 = the decoder's
      map before its classifier.
    grid: (height, width) to which the embeddings are resized first; None = they stay as they are.
    weight: Factor of each term.
    start_step: First step of the terms; the head is untouched before.
    options: Further keyword arguments of the loss.

  Raises:
    SettingError: The loss is unknown, or `method` lacks a view.
  """
  del task
  function = registry.choose(KERNELS, loss, "loss")
  parameters = inspect.signature(function).parameters
  if all(parameter.kind is not parameter.VAR_KEYWORD for parameter in parameters.values()):
    registry.check_names(options, parameters, "options")
  kernel = functools.partial(function, **options)
  head = HEAD if embedding_dim else None

  def check(draws, batch, teacher, all_views):
    del draws, batch, teacher
    require_views(all_views, "pixel_loss", *views)
    return {}

  terms = {
    f"pixel_loss_{view}": objectives.pixel_loss(
      kernel, view=view, head=head, grid=grid, weight=weight, start_step=start_step
    )
    for view in views
  }
  heads = {HEAD: functools.partial(LinearProjectionHead, embedding_dim)} if head else {}
  return extension.extend(
    method,
    "pixel_loss",
    terms=terms,
    views=ViewMaker(check),
    heads=heads,
    start_steps={f"heads_{HEAD}": start_step} if head else {},
  )
