"""A small residual encoder that trains from scratch on one CPU.

It has ordinary 3x3 convolutions only, as depthwise ones are slow on a CPU, and GroupNorm, so that
a batch mixed from two domains needs no common statistics. The strides are 2, 4 and 8. The last stage
is dilated (1, 2, 4), which gives every pixel a field of view 255 pixels wide, and a global-context
branch adds the scene as a whole. The last norm of each residual branch starts at zero: the network
begins shallow and can take a large learning rate.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.encoders import imagenet
from jax_uda.models.layers.norm import GroupNorm
from jax_uda.models.protocols import Features, Options

STRIDE = 8


def conv(
  features: int, *, stride: int = 1, dilation: int = 1, dtype: DTypeLike, name: str
) -> nn.Conv:
  """A 3x3 convolution without bias, padded symmetrically by its dilation."""
  return nn.Conv(
    features,
    (3, 3),
    strides=stride,
    padding=((dilation, dilation),) * 2,
    kernel_dilation=dilation,
    use_bias=False,
    kernel_init=nn.initializers.variance_scaling(2.0, "fan_in", "truncated_normal"),
    dtype=dtype,
    name=name,
  )


class ResidualBlock(nn.Module):
  """Two 3x3 convolutions around a shortcut, which is projected where the shape changes.

  Attributes:
    features: Channels of the result.
    stride: Stride of the first convolution.
    dilation: Dilation of both convolutions.
    dtype: Compute dtype; parameters are float32.
  """

  features: int
  stride: int = 1
  dilation: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to [B, H / stride, W / stride, features]; `stride` divides H and W."""
    options = {"dilation": self.dilation, "dtype": self.dtype}
    y = conv(self.features, stride=self.stride, name="conv1", **options)(x)
    y = nn.relu(GroupNorm(dtype=self.dtype, name="norm1")(y))
    y = conv(self.features, name="conv2", **options)(y)
    y = GroupNorm(scale_init=nn.initializers.zeros, dtype=self.dtype, name="norm2")(y)
    if self.stride > 1 or x.shape[-1] != self.features:
      if self.stride > 1:
        x = nn.avg_pool(x, (self.stride,) * 2, (self.stride,) * 2)
      x = nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="shortcut")(x)
    return nn.relu(x + y)


class CompactEncoder(nn.Module):
  """The encoder; its maps have strides 2, 4 and 8.

  Attributes:
    widths: Number of channels of each of the three maps.
    depths: Number of residual blocks of the second and the third stage (the first stage has one).
    dtype: Compute dtype; parameters are float32.
  """

  image_mean = imagenet.MEAN
  image_std = imagenet.STD
  tiny: ClassVar[Options] = {"widths": (8, 8, 16), "depths": (1, 1)}

  widths: tuple[int, int, int] = (32, 64, 128)
  depths: tuple[int, int] = (2, 3)
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the maps of image [B,H,W,3], fine to coarse; ValueError unless 8 divides H and W."""
    del train, use_running_average  # no dropout, no BatchNorm
    height, width = image.shape[1:3]
    if height % STRIDE or width % STRIDE:
      raise ValueError(
        f"image size {height}x{width}: the compact encoder needs sides that are multiples of "
        f"{STRIDE}; crop the image, or pad it with the mean color"
      )
    fine, middle, coarse = self.widths
    x = conv(fine, stride=2, dtype=self.dtype, name="stem")(image.astype(self.dtype))
    x = nn.relu(GroupNorm(dtype=self.dtype, name="stem_norm")(x))
    maps = [ResidualBlock(fine, dtype=self.dtype, name="stage1_0")(x)]
    for stage, features in ((2, middle), (3, coarse)):
      x = maps[-1]
      for i in range(self.depths[stage - 2]):
        x = ResidualBlock(
          features,
          stride=2 if i == 0 else 1,
          dilation=2**i if stage == 3 else 1,
          dtype=self.dtype,
          name=f"stage{stage}_{i}",
        )(x)
      maps.append(x)
    maps[-1] = x + self._context(x)
    return tuple(maps)

  def _context(self, x: jax.Array) -> jax.Array:
    """Maps x [B, H, W, D] to a term for every pixel, [B, 1, 1, D]; it starts at zero."""
    scene = jnp.mean(x, (1, 2), keepdims=True)
    scene = nn.relu(nn.Dense(x.shape[-1], dtype=self.dtype, name="context1")(scene))
    zeros = nn.initializers.zeros
    return nn.Dense(x.shape[-1], kernel_init=zeros, dtype=self.dtype, name="context2")(scene)
