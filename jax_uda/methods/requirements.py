"""What methods and components ask of each other, and the class weights they share."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jax_uda.step.context import View
from jax_uda.step.method import Method, Task


def require_views(views: Mapping[str, View], name: str, *wanted: str) -> None:
  """Raises ValueError if a method lacks views that the extension `name` needs."""
  missing = [view for view in wanted if view not in views]
  if missing:
    raise ValueError(
      f"config.method: {name} needs the view {', '.join(missing)}; this method has "
      f"{', '.join(views) + ' only' if views else 'no views'}. Add it to a method with pseudo-labels, e.g. dacs."
    )


def require_labels(method: Method, name: str, view: str) -> None:
  """Raises ValueError if no pixel of a view that the extension `name` learns from has a label."""
  if view in method.unlabelled:
    raise ValueError(
      f"config.method: {name} needs labels of the view {view}, and this method makes no "
      "pseudo-labels. Add it to a method that does, e.g. dacs."
    )


def class_weights(task: Task, power: float) -> jax.Array | None:
  """[C] weights `frequency ** -power`, scaled so that an average source pixel weighs 1.

  None for power 0. A class that never occurs in the source weighs as much as the rarest that does.
  """
  if not power:
    return None
  frequency = jnp.array(task.class_frequency, jnp.float32)
  rarest = jnp.min(jnp.where(frequency > 0, frequency, jnp.inf))
  weights = jnp.maximum(frequency, rarest) ** -power
  return weights / jnp.sum(frequency * weights)
