"""What a segmentor returns: the types that models, objectives and views share."""

from typing import Any, NamedTuple, Protocol

import jax


class Network(Protocol):
  """A segmentor as a step uses it: a Flax module that returns `Outputs`."""

  def init(self, rngs: Any, *args: Any, **kwargs: Any) -> Any:
    """Returns initial variables; the arguments are those of a pass."""
    ...

  def apply(self, variables: Any, *args: Any, **kwargs: Any) -> Any:
    """Runs a pass with `variables`; with `mutable`, returns the updated collections, too."""
    ...

  def clone(self, **kwargs: Any) -> Any:
    """Returns the same network with other attributes, e.g. `heads`."""
    ...


class Decoded:
  """The decoder's outputs of a pass, for code that cannot do without them."""

  def __init__(self, logits: jax.Array | None, fused: jax.Array | None):
    """Takes what the pass computed."""
    self._logits, self._fused = logits, fused

  @property
  def logits(self) -> jax.Array:
    """[B, h, w, C] float32, at the decoder's stride; a ValueError if the pass left it out."""
    return _present(self._logits, "decoder")

  @property
  def fused(self) -> jax.Array:
    """[B, h, w, D], the map before the classifier; a ValueError if the pass left it out."""
    return _present(self._fused, "fused")


def _present(array: jax.Array | None, name: str) -> jax.Array:
  if array is None:
    raise ValueError(f"this pass leaves the decoder out: add {name!r} to its Pass.outputs")
  return array


class Outputs(NamedTuple):
  """One forward pass of a segmentor.

  Attributes:
    logits: [B, h, w, C] float32, at the decoder's stride; None where the decoder was left out.
    features: Encoder maps, fine to coarse, each [B, h_i, w_i, D_i].
    fused: [B, h, w, D], the decoder's map before its classifier; None where it was left out.
    heads: Further outputs by head name, e.g. `projection` [B, h, w, A].
  """

  logits: jax.Array | None
  features: tuple[jax.Array, ...]
  fused: jax.Array | None
  heads: dict[str, jax.Array]

  @property
  def decoded(self) -> Decoded:
    """`logits` and `fused` as arrays; asking for one that was left out is an error."""
    return Decoded(self.logits, self.fused)
