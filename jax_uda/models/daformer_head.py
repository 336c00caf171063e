"""The context-aware decoder of DAFormer (Hoyer et al., 2022).

All levels are embedded linearly, enlarged to the finest and fused by depthwise-separable ASPP
without image pooling. Module names follow the released checkpoints. Golden: `base/daformer_head`.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.models.depthwise import DepthwiseConv
from jax_uda.models.initializers import torch_uniform
from jax_uda.models.norm import BatchNorm
from jax_uda.ops import resize

# Kaiming normal with fan-out k * k * out, in depthwise convolutions too, as in the reference.
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvModule(nn.Module):
  """Convolution without bias, BatchNorm, ReLU; depthwise where `features` is None."""

  features: int | None
  kernel_size: int = 1
  dilation: int = 1
  depthwise: str = "auto"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """[B, H, W, D] to [B, H, W, features]."""
    options = {"use_bias": False, "kernel_init": CONV_INIT, "dtype": self.dtype, "name": "conv"}
    if self.features is None:
      x = DepthwiseConv(self.kernel_size, self.dilation, method=self.depthwise, **options)(x)
    else:
      pad = self.dilation * (self.kernel_size // 2)
      x = nn.Conv(
        self.features,
        (self.kernel_size,) * 2,
        kernel_dilation=self.dilation,
        padding=((pad, pad), (pad, pad)),
        **options,
      )(x)
    x = BatchNorm(dtype=self.dtype, name="bn")(x, use_running_average=use_running_average)
    return nn.relu(x)


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


class LevelFusionHead(nn.Module):
  """What the decoders on four levels share: linear embeddings, a fusion, a classifier.

  Logits and `fused` have the stride of the finest map. Subclasses say how to fuse.

  Attributes:
    num_classes: Channels of the logits.
    embed_dim: Channels each level is embedded in.
    channels: Channels of `fused`.
    dropout: Share of whole channels dropped before the classifier, in training.
    depthwise: How depthwise convolutions are computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters, BatchNorm statistics and logits are float32.
  """

  num_classes: int
  embed_dim: int = 256
  channels: int = 256
  dropout: float = 0.1
  depthwise: str = "auto"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, features: Sequence[jax.Array], *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Maps fine to coarse -> (logits [B,h,w,C], fused [B,h,w,channels], before the dropout)."""
    size = features[0].shape[1:3]
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
    """The module from all levels [B,h,w,levels * embed_dim] to `fused`."""
    raise NotImplementedError

  def _embed(self, level: int, x: jax.Array) -> jax.Array:
    """A linear map of every pixel, initialised as PyTorch does."""
    uniform = torch_uniform(x.shape[-1])
    return nn.Dense(
      self.embed_dim,
      kernel_init=uniform,
      bias_init=uniform,
      dtype=self.dtype,
      name=f"embed_layers_{level}",
    )(x)


class DAFormerHead(LevelFusionHead):
  """The decoder: levels are fused by separable ASPP with these `dilations`.

  CLUDA's contrast reads its `fused`; golden `cluda/fused_feature`.
  """

  dilations: tuple[int, ...] = (1, 6, 12, 18)

  def _fusion(self, name: str) -> nn.Module:
    return SeparableASPP(self.channels, self.dilations, self.depthwise, self.dtype, name=name)
