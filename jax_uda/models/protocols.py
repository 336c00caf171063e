"""What a segmentor asks of its parts: encoder, decoder and heads.

Each part is a `flax.linen.Module`, that is, a frozen and hashable dataclass. All are called with the same
two switches, which are independent because the EMA teacher runs without dropout on batch statistics:

  train                 Whether dropout and drop path are on; they draw from the rng stream `dropout`.
  use_running_average   Whether BatchNorm normalises with its running statistics, not the batch's.

Parameters and BatchNorm statistics (collection `batch_stats`) are float32 whatever the compute dtype.
`tests/laws/test_encoders.py` holds these rules for every encoder, decoder and head.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import jax
from jax.typing import DTypeLike

Size = tuple[int, int]  # (height, width)
Color = tuple[float, float, float]  # RGB
Features = tuple[jax.Array, ...]  # encoder maps [B, h_i, w_i, D_i], fine to coarse
Options = Mapping[str, Any]  # keyword arguments of a module


class Module(Protocol):
  """What is used of `flax.linen.Module` itself."""

  def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns initial variables; the arguments are those of `__call__`."""
    ...

  def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls the module with `variables`."""
    ...


class Encoder(Module, Protocol):
  """Maps an image to feature maps at several strides.

  A class may also have an attribute `tiny`, the options of its cheapest sensible form: smoke runs
  and tests use it (`catalog.tiny`).
  """

  @property
  def image_mean(self) -> Color:
    """Color that a segmentor subtracts from the image, RGB."""
    ...

  @property
  def image_std(self) -> Color:
    """Standard deviation by which a segmentor divides the image, RGB."""
    ...

  def __call__(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the maps [B, h_i, w_i, D_i] of a standardised image [B, H, W, 3], fine to coarse.

    Strides ascend or stay the same from map to map. Sides that are no multiple of a stride are rounded
    up or down, or refused by a ValueError; an encoder that first resizes the image to multiples of more
    pixels says so in an attribute `multiple`. The maps have the compute dtype. Further keyword arguments
    with defaults are inputs that a method may give, such as `mask_ratio` of DINOv2.
    """
    ...


class Decoder(Module, Protocol):
  """Fuses the maps of an encoder into one and classifies its pixels."""

  @property
  def num_classes(self) -> int:
    """Number of channels of the logits, C."""
    ...

  @property
  def dtype(self) -> DTypeLike:
    """Compute dtype."""
    ...

  def __call__(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns logits [B, h, w, C] in float32 and the fused map [B, h', w', D] before the classifier.

    Both have the size of one of the encoder's maps, or of an enlarged one. The fused map has the
    compute dtype.
    """
    ...


class Head(Module, Protocol):
  """Maps features to the vectors of a further loss, beside the decoder's logits.

  A head that has neither dropout nor BatchNorm takes the switches as `**mode` and ignores them.
  """

  def __call__(
    self, features: Features, fused: jax.Array | None, *, train: bool, use_running_average: bool
  ) -> jax.Array:
    """Returns an array, usually [B, h, w, A] in float32.

    Args:
      features: Encoder maps [B, h_i, w_i, D_i], fine to coarse.
      fused: The decoder's fused map [B, h, w, D], or None in a pass that leaves the decoder out.
      train: Whether dropout is on.
      use_running_average: Whether BatchNorm uses its running statistics.

    Raises:
      ValueError: The head reads `fused`, which is None.
    """
    ...


SWITCHES = ("train", "use_running_average")


def inputs_of(encoder: Encoder) -> tuple[str, ...]:
  """Returns the names of an encoder's further inputs, such as `mask_ratio` of DINOv2."""
  _self, _image, *others = inspect.signature(type(encoder).__call__).parameters.values()
  named = [other.name for other in others if other.kind is not other.VAR_KEYWORD]
  return tuple(name for name in named if name not in SWITCHES)
