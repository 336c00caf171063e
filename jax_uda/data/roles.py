"""What a data set is used for, which decides which of its files are opened."""

import enum


class Role(enum.Enum):
  """The use of a data set in a run.

  Attributes:
    SOURCE: Training with labels, and validation.
    TARGET: Training without labels, and validation. Labels of its training images are never opened.
    EVALUATION: Validation alone. Its training images are not even listed.
  """

  SOURCE = "source"
  TARGET = "target"
  EVALUATION = "eval"

  @property
  def is_trained_on(self) -> bool:
    """Whether the data set has a training split."""
    return self is not Role.EVALUATION

  @property
  def opens_training_labels(self) -> bool:
    """Whether labels of training images may be opened."""
    return self is Role.SOURCE
