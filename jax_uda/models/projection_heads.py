"""Heads that map encoder features to the unit vectors contrastive losses compare."""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda import resize
from jax_uda.losses import arrays
from jax_uda.models.daformer_head import ConvModule


class ProjectionHead(nn.Module):
  """SePiCo's head: two 1x1 convolutions, each with BatchNorm and ReLU, then L2 normalisation.

  The second ReLU stays, so embeddings are non-negative unit vectors, or exactly zero. Golden:
  `sepico/proj_head`.

  Attributes:
    dim: Embedding dimension, A.
    hidden: Channels between the convolutions; 0: a quarter of all levels' channels together, or
      those of the last level alone.
    levels: "all" joins every encoder level at the size of the finest; "last" reads the coarsest.
    dtype: Compute dtype; parameters, BatchNorm statistics and embeddings are float32.
  """

  dim: int = 512
  hidden: int = 0
  levels: Literal["all", "last"] = "all"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self,
    features: Sequence[jax.Array],
    fused: jax.Array | None,
    *,
    train: bool,
    use_running_average: bool,
  ) -> jax.Array:
    """Encoder maps, fine to coarse -> unit vectors [B, h, w, A]."""
    del fused, train  # it is parallel to the decoder, and has no dropout
    x, hidden = features[-1], self.hidden or features[-1].shape[-1]
    if self.levels == "all":
      size = features[0].shape[1:3]
      x = jnp.concatenate([resize.bilinear(level, size) for level in features], -1)
      hidden = self.hidden or x.shape[-1] // 4
    for i, width in enumerate((hidden, self.dim)):
      block = ConvModule(width, dtype=self.dtype, name=f"convs_{i}")
      x = block(x, use_running_average=use_running_average)
    return arrays.l2_normalize(x)
