"""ResNet with bottlenecks at output stride 8, the encoder of DeepLabV2, in four variants.

The variants differ where checkpoints and methods depend on it (`Variant`): the stem, where a block
strides, how it dilates, how the max pool rounds, and what BatchNorm does in training. Module names
follow the official checkpoints (`layer1_0` here is `layer1.0` there). Goldens: `base/deeplab_v1c`,
`base/deeplab_tv_frozen`, `base/deeplab_caffe`.
"""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.common import registry
from jax_uda.models.encoders import imagenet
from jax_uda.models.layers.norm import BatchNorm
from jax_uda.models.protocols import Color, Features, Options

# Kaiming normal with fan-out.
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
EXPANSION = 4
STRIDES = (1, 2, 1, 1)  # of the four stages
DILATIONS = (1, 1, 2, 4)


@dataclasses.dataclass(frozen=True)
class Variant:
  """What distinguishes the ResNets in use.

  Attributes:
    deep_stem: Whether the stem has three 3x3 convolutions instead of one 7x7.
    stride_first: Whether a block strides in its first 1x1 convolution instead of its 3x3 one.
    contracted: Whether the first block of a dilated stage keeps the dilation of the stage before.
    ceil_pool: Whether the max pool rounds its output size up (512 -> 129).
    train_affine: Whether scale and bias of BatchNorm are trained.
    frozen_statistics: Whether BatchNorm always uses its running statistics and never changes them.
    epsilon: Number that BatchNorm adds to the variance.
    bgr: Whether the weights expect the channels in the order blue, green, red.
    image_mean: Mean color that the weights expect to be subtracted, RGB in [0, 1].
    image_std: Standard deviation that the weights expect to be divided by, in the same units.
  """

  deep_stem: bool = False
  stride_first: bool = False
  contracted: bool = True
  ceil_pool: bool = False
  train_affine: bool = True
  frozen_statistics: bool = False
  epsilon: float = 1e-5
  bgr: bool = False
  image_mean: Color = imagenet.MEAN
  image_std: Color = imagenet.STD


VARIANTS = {
  # DAFormer, HRDA, MIC, SePiCo, CLUDA, CONFETI.
  "v1c": Variant(deep_stem=True),
  # SPCL's last stage.
  "torchvision": Variant(),
  # SPCL: torchvision's weights, `y = (x - mean) / sqrt(var) * scale + bias`.
  "torchvision_frozen": Variant(train_affine=False, frozen_statistics=True, epsilon=0.0),
  # RCCR: Caffe's weights; batch statistics in training.
  "caffe": Variant(
    stride_first=True,
    contracted=False,
    ceil_pool=True,
    train_affine=False,
    bgr=True,
    image_mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
    image_std=(1 / 255, 1 / 255, 1 / 255),
  ),
}


def _conv(
  features: int, size: int, *, stride: int = 1, dilation: int = 1, dtype: DTypeLike, name: str
) -> nn.Conv:
  """A convolution without bias, padded symmetrically."""
  pad = (dilation * (size // 2), dilation * (size // 2))
  return nn.Conv(
    features,
    (size, size),
    strides=stride,
    padding=(pad, pad),
    kernel_dilation=dilation,
    use_bias=False,
    kernel_init=CONV_INIT,
    dtype=dtype,
    name=name,
  )


def _batch_norm(variant: Variant, dtype: DTypeLike, name: str) -> BatchNorm:
  """The variant's BatchNorm; the caller sees to frozen statistics (`use_running_average`)."""
  return BatchNorm(epsilon=variant.epsilon, trainable=variant.train_affine, dtype=dtype, name=name)


def _max_pool(x: jax.Array, ceil: bool) -> jax.Array:
  """Max over 3x3 windows of stride 2 of x [B, H, W, D], padded by one pixel.

  `ceil` rounds sizes up. That adds a row or column to even sides only, whose last pixel then gets
  a window of its own.
  """
  padding = [(1, 1 + int(ceil and length % 2 == 0)) for length in x.shape[1:3]]
  return nn.max_pool(x, (3, 3), (2, 2), padding)  # pyright: ignore[reportArgumentType]


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions around a shortcut, which is projected where the shape changes.

  Attributes:
    features: Channels of the first two convolutions; the block returns four times as many.
    variant: The kind of ResNet.
    stride: Stride of the block.
    dilation: Dilation of the 3x3 convolution.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  features: int
  variant: Variant
  stride: int = 1
  dilation: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """Maps [B, H, W, D] to [B, ceil(H / stride), ceil(W / stride), 4 * features]."""
    first, second = (self.stride, 1) if self.variant.stride_first else (1, self.stride)
    width = EXPANSION * self.features

    def conv_norm(x: jax.Array, features: int, size: int, conv: str, norm: str, **settings: int):
      x = _conv(features, size, dtype=self.dtype, name=conv, **settings)(x)
      return _batch_norm(self.variant, self.dtype, norm)(x, use_running_average=use_running_average)

    y = nn.relu(conv_norm(x, self.features, 1, "conv1", "bn1", stride=first))
    y = conv_norm(y, self.features, 3, "conv2", "bn2", stride=second, dilation=self.dilation)
    y = conv_norm(nn.relu(y), width, 1, "conv3", "bn3")
    if self.stride > 1 or x.shape[-1] != width:
      x = conv_norm(x, width, 1, "downsample_0", "downsample_1", stride=self.stride)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """The encoder; its four maps have strides 4, 8, 8 and 8 (sizes rounded up).

  Attributes:
    variant: A key of `VARIANTS`.
    depths: Number of blocks of each stage.
    width: Channels within the blocks of the first stage; every further stage doubles them, and the
      maps have four times as many.
    stem_width: Channels of the stem; None stands for `width`.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  tiny: ClassVar[Options] = {"depths": (1, 1, 1, 1), "width": 8}

  variant: str = "v1c"
  depths: tuple[int, int, int, int] = (3, 4, 6, 3)
  width: int = 64
  stem_width: int | None = None
  dtype: DTypeLike = jnp.float32

  def __post_init__(self):
    """Refuses an unknown variant by a SettingError."""
    registry.lookup(VARIANTS, self.variant, ("variant",))
    super().__post_init__()

  @nn.compact
  def __call__(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the maps of image [B,H,W,3], fine to coarse, each after its stage's last ReLU."""
    del train  # no dropout
    variant = VARIANTS[self.variant]
    running = use_running_average or variant.frozen_statistics
    x = image[..., ::-1] if variant.bgr else image
    x = self._stem(x.astype(self.dtype), variant, running)
    x = _max_pool(x, variant.ceil_pool)
    maps = []
    for i, depth in enumerate(self.depths):
      for j in range(depth):
        previous = DILATIONS[max(i - 1, 0)]
        x = Bottleneck(
          self.width * 2**i,
          variant,
          stride=STRIDES[i] if j == 0 else 1,
          dilation=previous if j == 0 and variant.contracted else DILATIONS[i],
          dtype=self.dtype,
          name=f"layer{i + 1}_{j}",
        )(x, use_running_average=running)
      maps.append(x)
    return tuple(maps)

  def _stem(self, x: jax.Array, variant: Variant, use_running_average: bool) -> jax.Array:
    """Maps [B,H,W,3] to [B,H/2,W/2,stem_width], sizes rounded up."""
    width = self.width if self.stem_width is None else self.stem_width
    layers = [(width, 7, 2, "conv1", "bn1")]
    if variant.deep_stem:
      layers = [
        (width // 2, 3, 2, "stem_0", "stem_1"),
        (width // 2, 3, 1, "stem_3", "stem_4"),
        (width, 3, 1, "stem_6", "stem_7"),
      ]
    for features, size, stride, conv, norm in layers:
      x = _conv(features, size, stride=stride, dtype=self.dtype, name=conv)(x)
      x = _batch_norm(variant, self.dtype, norm)(x, use_running_average=use_running_average)
      x = nn.relu(x)
    return x

  @property
  def image_mean(self) -> Color:
    """Mean color that the weights expect to be subtracted, RGB in [0, 1]."""
    return VARIANTS[self.variant].image_mean

  @property
  def image_std(self) -> Color:
    """Standard deviation that the weights expect to be divided by, in the same units."""
    return VARIANTS[self.variant].image_std


DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
SIZES: dict[str, Options] = {
  f"{name}_{variant}": {"variant": variant, "depths": depths}
  for name, depths in DEPTHS.items()
  for variant in VARIANTS
}
