"""What components require of a method, and the class weights that methods share."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jax_uda.common.registry import SettingError
from jax_uda.step.context import View
from jax_uda.step.method import Method, Task


def require_views(views: Mapping[str, View], name: str, *wanted: str) -> None:
  """Raises SettingError if a method lacks views that the component `name` needs."""
  missing = [view for view in wanted if view not in views]
  if missing:
    present = f"{', '.join(views)} only" if views else "no views"
    raise SettingError(
      "method",
      f": {name} needs the view {', '.join(missing)}; this method has {present}. Add it to a method "
      "with pseudo-labels, e.g. dacs.",
    )


def require_labels(method: Method, name: str, view: str) -> None:
  """Raises SettingError if no pixel of a view that the component `name` learns from has a label."""
  if view in method.unlabelled:
    raise SettingError(
      (),
      f": {name} needs labels of the view {view}, and this method makes no pseudo-labels. Add it to a "
      "method that does, e.g. dacs.",
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
