"""What the file of an imported whole model says of itself, so that it can predict."""

from collections.abc import Mapping
from typing import Any

from jax_uda.common import registry
from jax_uda.common.registry import SettingError
from jax_uda.data import label_spaces
from jax_uda.data.label_spaces import LabelSpace
from jax_uda.ops.resize import Size
from jax_uda.run import model_text
from jax_uda.run.classes_file import Classes
from jax_uda.run.model_text import ModelText

# A weight file does not say these settings of HRDA; they are those of all published ones.
HRDA_CROP, HRDA_WINDOW, HRDA_STRIDE = (512, 512), (1024, 1024), (512, 512)


def find_classes(name: str, num_classes: int) -> LabelSpace:
  """The classes of a file.

  Args:
    name: A key of `label_spaces.KNOWN`; empty: the first one of so many classes, or else numbers.
    num_classes: The number of classes.

  Raises:
    SettingError: There are no such classes, or not so many.
  """
  if not name:
    known = (space for space in label_spaces.KNOWN.values() if space.num_classes == num_classes)
    numbers = tuple(map(str, range(num_classes)))
    return next(known, None) or label_spaces.make(f"{num_classes} classes", numbers)
  space = registry.lookup(label_spaces.KNOWN, name, "classes")
  if space.num_classes != num_classes:
    raise SettingError(
      "classes",
      f"= {name!r} are {space.num_classes}, but the decoder has --num_classes={num_classes}.",
    )
  return space


def texts(
  hrda: Mapping[str, Any] | None,
  *,
  encoder: str,
  decoder: str,
  classes: LabelSpace,
  image_size: Size | None,
  network: str,
) -> dict[str, str]:
  """The texts that describe a whole model; none for an encoder alone.

  Args:
    hrda: What shows of its HRDA in the file; None: it has none.
    encoder: Name of the encoder.
    decoder: Name of the decoder; empty: the file has an encoder alone.
    classes: The classes.
    image_size: (height, width) into which images are fitted; None: they keep their size.
    network: "student" or "teacher".
  """
  if not decoder:
    return {}
  model: dict[str, Any] = {"encoder": encoder, "decoder": decoder}
  evaluation: dict[str, Any] = {}
  if hrda:
    model["hrda"] = {**hrda, "crop_size": HRDA_CROP}
    evaluation = {"window": HRDA_WINDOW, "stride": HRDA_STRIDE}
  text = ModelText(model, evaluation, Classes(classes, image_size, None), network=network)
  return {model_text.KEY: text.to_text()}
