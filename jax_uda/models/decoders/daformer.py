"""The context-aware decoder of DAFormer (Hoyer et al., 2022).

All levels are embedded linearly, enlarged to the finest and fused by depthwise-separable ASPP
without image pooling. Module names follow the released checkpoints. Golden: `base/daformer_head`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.models.decoders.level_fusion import LevelFusionHead
from jax_uda.models.layers.conv_module import ConvModule


class SeparableConv(nn.Module):
  """A dilated depthwise 3x3 `ConvModule`, then a pointwise one."""

  features: int
  dilation: int
  depthwise: str = "auto"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """[B, H, W, D] to [B, H, W, features]."""
    options = {"depthwise": self.depthwise, "dtype": self.dtype}
    spatial = ConvModule(None, 3, self.dilation, name="depthwise_conv", **options)
    mixing = ConvModule(self.features, name="pointwise_conv", **options)
    x = spatial(x, use_running_average=use_running_average)
    return mixing(x, use_running_average=use_running_average)


class SeparableASPP(nn.Module):
  """Parallel branches, one a dilation (1: a 1x1 convolution), joined by a 3x3 convolution."""

  features: int
  dilations: tuple[int, ...] = (1, 6, 12, 18)
  depthwise: str = "auto"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """[B, H, W, D] to [B, H, W, features]."""
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
  """The decoder: levels are fused by separable ASPP with these `dilations`.

  CLUDA's contrast reads its `fused`; golden `cluda/fused_feature`.
  """

  dilations: tuple[int, ...] = (1, 6, 12, 18)

  def _fusion(self, name: str) -> nn.Module:
    return SeparableASPP(self.channels, self.dilations, self.depthwise, self.dtype, name=name)
