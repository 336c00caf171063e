"""DAFormer (Hoyer et al., CVPR 2022): DACS plus the thing-class ImageNet feature distance.

The frozen network it compares with is the one the run starts from; the distance has its meaning when
that start is an ImageNet encoder. Rare-class sampling, the schedule and the x10 decoder rate of the
paper are settings of the data and of the optimizer.
"""

from collections.abc import Sequence
from typing import Any

from jax_uda.methods.dacs import dacs
from jax_uda.step.method import Method, Task

# Traffic light and sign, person, rider and all vehicles, among the 19 Cityscapes classes.
CITYSCAPES_THINGS = (6, 7, 11, 12, 13, 14, 15, 16, 17, 18)


def thing_classes_of(task: Task, given: Sequence[int] = ()) -> tuple[int, ...]:
  """The thing classes given, or those among the 19 Cityscapes classes.

  Raises:
    ValueError: None are given, and the classes are not those of Cityscapes; or there are fewer.
  """
  if not given and task.num_classes != 19:
    raise ValueError(
      f"config.method.thing_classes is missing: which of the {task.num_classes} classes are things "
      "is known for the 19 Cityscapes classes only."
    )
  things = tuple(given) or CITYSCAPES_THINGS
  if not 0 <= min(things) <= max(things) < task.num_classes:
    raise ValueError(
      f"config.method.thing_classes = {things} must lie between 0 and {task.num_classes - 1}, the "
      "classes of config.data."
    )
  return things


def daformer(
  task: Task,
  *,
  thing_classes: Sequence[int] = (),
  feature_distance_weight: float = 0.005,
  **settings: Any,
) -> Method:
  """DAFormer.

  Args:
    task: The classes and the standardisation.
    thing_classes: Classes of the feature distance; may be left out for the 19 Cityscapes classes.
    feature_distance_weight: Of the feature distance.
    **settings: See `dacs`.

  Raises:
    ValueError: `thing_classes` is missing and the classes are not those of Cityscapes.
  """
  return dacs(
    task,
    thing_classes=thing_classes_of(task, thing_classes),
    feature_distance_weight=feature_distance_weight,
    **settings,
  )
