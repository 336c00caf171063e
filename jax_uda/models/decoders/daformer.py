"""The context-aware decoder of DAFormer (Hoyer et al., 2022).

It embeds all levels linearly, enlarges them to the finest and fuses them by depthwise-separable ASPP
without image pooling. Module names follow the released checkpoints. Golden: `base/daformer_head`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.decoders.level_fusion import LevelFusionHead
from jax_uda.models.layers.conv_module import ConvModule


class SeparableConv(nn.Module):
  """A dilated depthwise 3x3 `ConvModule`, then a pointwise one.

  Attributes:
    features: Channels of the result.
    dilation: Dilation of the depthwise convolution.
    depthwise: How it is computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  features: int
  dilation: int
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """Maps [B, H, W, D] to [B, H, W, features]."""
    options = {"depthwise": self.depthwise, "dtype": self.dtype}
    spatial = ConvModule(None, 3, self.dilation, name="depthwise_conv", **options)
    mixing = ConvModule(self.features, name="pointwise_conv", **options)
    x = spatial(x, use_running_average=use_running_average)
    return mixing(x, use_running_average=use_running_average)


class SeparableASPP(nn.Module):
  """Parallel dilated branches, joined by a 3x3 convolution.

  Attributes:
    features: Channels of every branch and of the result.
    dilations: Dilation of each branch; the branch of dilation 1 is a 1x1 convolution.
    depthwise: How depthwise convolutions are computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  features: int
  dilations: tuple[int, ...] = (1, 6, 12, 18)
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """Maps [B, H, W, D] to [B, H, W, features]."""
    branches = []
    for i, dilation in enumerate(self.dilations):
      name = f"aspp_modules_{i}"
      if dilation == 1:
        branch = ConvModule(self.features, dtype=self.dtype, name=name)
      else:
        branch = SeparableConv(self.features, dilation, self.depthwise, self.dtype, name=name)
      branches.append(branch(x, use_running_average=use_running_average))
    bottleneck = ConvModule(self.features, 3, dtype=self.dtype, name="bottleneck")
    return bottleneck(jnp.concatenate(branches, -1), use_running_average=use_running_average)


class DAFormerHead(LevelFusionHead):
  """The decoder; see `LevelFusionHead` for its further attributes.

  CLUDA's contrast reads its fused map. Golden: `cluda/fused_feature`.

  Attributes:
    dilations: Dilation of each branch of the ASPP.
  """

  dilations: tuple[int, ...] = (1, 6, 12, 18)

  def _fusion(self, name: str) -> nn.Module:
    return SeparableASPP(self.channels, self.dilations, self.depthwise, self.dtype, name=name)
