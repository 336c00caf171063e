"""The form of a training batch: what the input pipeline yields and a training step takes.

Images stay uint8 until they are on the device. B is the number of images of each domain, (H, W) the
size of a crop, and (H', W') the size of target images, which differs from (H, W) if they come whole.
"""

from typing import TYPE_CHECKING, NotRequired, TypeAlias, TypedDict

import numpy as np

if TYPE_CHECKING:
  import jax

Array: TypeAlias = "np.ndarray | jax.Array"


class SourceBatch(TypedDict):
  """Labelled images of the source domain.

  Attributes:
    image: [B,H,W,3] uint8 RGB.
    label: [B,H,W] uint8 train ids, 255 = ignore.
    raw: [B,H,W,3] images before a translator has changed `image`; only inside the step of a method
      that translates.
  """

  image: Array
  label: Array
  raw: NotRequired[Array]


class TargetBatch(TypedDict):
  """Images of the target domain. There is no field for the labels of the data set.

  Attributes:
    image: [B,H',W',3] uint8 RGB.
    day_image: [B,H',W',3] uint8 RGB of the same places by day, if the data set has them.
    label: [B,H',W'] uint8 pseudo-labels that an earlier stage has stored, 255 = ignore.
    valid: [B,H',W'] uint8, 0 where a pseudo-label cannot be trusted (margins, padding) and 1 elsewhere.
  """

  image: Array
  day_image: NotRequired[Array]
  label: NotRequired[Array]
  valid: NotRequired[Array]


class Batch(TypedDict):
  """A training batch of both domains."""

  source: SourceBatch
  target: TargetBatch
