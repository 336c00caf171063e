"""What a segmentor returns: the one type that models, objectives and views share."""

from typing import NamedTuple

import jax


class Outputs(NamedTuple):
  """One forward pass of a segmentor.

  Attributes:
    logits: [B, h, w, C] float32, at the decoder's stride; None where the decoder was left out.
    features: Encoder maps, fine to coarse, each [B, h_i, w_i, D_i].
    fused: [B, h, w, D], the decoder's map before its classifier; None likewise.
    heads: Further outputs by head name, e.g. `projection` [B, h, w, A].
  """

  logits: jax.Array | None
  features: tuple[jax.Array, ...]
  fused: jax.Array | None
  heads: dict[str, jax.Array]
