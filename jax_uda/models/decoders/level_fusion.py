"""The base of decoders that embed each encoder level and fuse the levels."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import torch_uniform
from jax_uda.models.protocols import Features, Options
from jax_uda.ops import resize


class LevelFusionHead(nn.Module):
  """Linear embeddings of the levels, a fusion that subclasses define, and a classifier.

  The logits and the fused map have the stride of the finest map.

  Attributes:
    num_classes: Channels of the logits, C.
    embed_dim: Channels of the embedding of each level.
    channels: Channels of the fused map.
    dropout: Share of whole channels that training drops before the classifier.
    depthwise: How depthwise convolutions are computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters, BatchNorm statistics and logits are float32.
  """

  tiny: ClassVar[Options] = {"embed_dim": 8, "channels": 8}

  num_classes: int
  embed_dim: int = 256
  channels: int = 256
  dropout: float = 0.1
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns logits [B,h,w,C] and the fused map [B,h,w,channels] before the dropout."""
    size = features[0].shape[1], features[0].shape[2]
    levels = [resize.bilinear(self._embed(i, x), size) for i, x in enumerate(features)]
    fused = self._fusion("fuse_layer")(
      jnp.concatenate(levels, -1), use_running_average=use_running_average
    )
    x = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)(fused)
    classifier = nn.Conv(
      self.num_classes, (1, 1), kernel_init=nn.initializers.normal(0.01), name="conv_seg"
    )
    return classifier(x.astype(jnp.float32)), fused

  def _fusion(self, name: str) -> nn.Module:
    """Returns the module that maps all levels [B,h,w,levels * embed_dim] to the fused map."""
    raise NotImplementedError

  def _embed(self, level: int, x: jax.Array) -> jax.Array:
    """Maps every pixel linearly, with PyTorch's initialisation."""
    uniform = torch_uniform(x.shape[-1])
    return nn.Dense(
      self.embed_dim,
      kernel_init=uniform,
      bias_init=uniform,
      dtype=self.dtype,
      name=f"embed_layers_{level}",
    )(x)
