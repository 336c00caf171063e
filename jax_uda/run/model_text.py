"""The text in a weight file that says which network its tensors are of, and what they predict.

With it, `load` needs nothing but the file. The text is JSON, under one name among the texts of the file.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from jax_uda.run import classes_file, saved_config

KEY = "jax_uda_model"


class ModelText(NamedTuple):
  """What a file says of its network.

  Attributes:
    model: The config group `model`.
    evaluation: The config group `eval`; fields that it lacks have their defaults.
    classes: The classes, and how images reach the network.
    compute_dtype: As `config.compute_dtype`.
    step: Number of training steps behind the weights.
    network: "student" or "teacher".
    checkpoint: What the run calls the checkpoint.
  """

  model: Mapping[str, Any]
  evaluation: Mapping[str, Any]
  classes: classes_file.Classes
  compute_dtype: str = "float32"
  step: int = 0
  network: str = "student"
  checkpoint: str = "last"

  def to_text(self) -> str:
    """The JSON text."""
    return json.dumps(self._asdict() | {"classes": self.classes.to_plain()})


def parse(texts: Mapping[str, str], file: pathlib.Path) -> ModelText:
  """What the texts of a file say.

  Raises:
    ValueError: They do not describe a network that we know.
  """
  if KEY not in texts:
    raise ValueError(
      f"{file} does not say which network it is of. Import it first: jax-uda import-weights {file} "
      "--encoder=… --decoder=… --out=weights."
    )
  try:
    fields = json.loads(texts[KEY])
    fields["classes"] = classes_file.from_plain(fields["classes"])
    text = ModelText(**fields)
    if not isinstance(text.model, dict) or not isinstance(text.evaluation, dict):
      raise ValueError("a group of settings is none")
  except (ValueError, TypeError, KeyError, AttributeError) as error:
    raise ValueError(f"{file} says of its network what cannot be read: {error}") from None
  return text._replace(
    model=saved_config.with_tuples(text.model),
    evaluation=saved_config.with_tuples(text.evaluation),
  )
