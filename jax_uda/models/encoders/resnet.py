"""ResNet with bottlenecks at output stride 8, the encoder of DeepLabV2, in four flavours.

The flavours differ where checkpoints and methods depend on it (`Flavour`): the stem, where a block
strides, how it dilates, how the max pool rounds, and what BatchNorm does in training. Module names
follow the official checkpoints (`layer1_0` here is `layer1.0` there). Goldens: `base/deeplab_v1c`,
`base/deeplab_tv_frozen`, `base/deeplab_caffe`.
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.models.encoders import imagenet
from jax_uda.models.layers.norm import BatchNorm

# Kaiming normal with fan-out.
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
EXPANSION = 4
STRIDES = (1, 2, 1, 1)  # of the four stages
DILATIONS = (1, 1, 2, 4)


@dataclasses.dataclass(frozen=True)
class Flavour:
  """What distinguishes the ResNets in use.

  Attributes:
    deep_stem: Three 3x3 convolutions instead of one 7x7.
    stride_first: A block strides in its first 1x1 convolution, not in its 3x3 one.
    contracted: The first block of a dilated stage keeps the dilation of the stage before.
    ceil_pool: The max pool rounds its output size up (512 -> 129).
    train_affine: Scale and bias of BatchNorm are trained.
    frozen_statistics: BatchNorm always uses its running statistics and never changes them.
    epsilon: Of BatchNorm.
    bgr: The weights expect the channels in the order blue, green, red.
    image_mean: The mean color that the weights expect to be subtracted, RGB in [0, 1].
    image_std: The standard deviation that they expect to be divided by, in the same units.
  """

  deep_stem: bool = False
  stride_first: bool = False
  contracted: bool = True
  ceil_pool: bool = False
  train_affine: bool = True
  frozen_statistics: bool = False
  epsilon: float = 1e-5
  bgr: bool = False
  image_mean: tuple[float, float, float] = imagenet.MEAN
  image_std: tuple[float, float, float] = imagenet.STD


FLAVOURS = {
  # DAFormer, HRDA, MIC, SePiCo, CLUDA, CONFETI.
  "v1c": Flavour(deep_stem=True),
  # SPCL's last stage.
  "torchvision": Flavour(),
  # SPCL: torchvision's weights, `y = (x - mean) / sqrt(var) * scale + bias`.
  "torchvision_frozen": Flavour(train_affine=False, frozen_statistics=True, epsilon=0.0),
  # RCCR: Caffe's weights; batch statistics in training.
  "caffe": Flavour(
    stride_first=True,
    contracted=False,
    ceil_pool=True,
    train_affine=False,
    bgr=True,
    image_mean=(122.67891434 / 255, 116.66876762 / 255, 104.00698793 / 255),
    image_std=(1 / 255,) * 3,
  ),
}


def _conv(
  features: int, size: int, *, stride: int = 1, dilation: int = 1, dtype: Any, name: str
) -> nn.Conv:
  """A convolution without bias, padded symmetrically."""
  return nn.Conv(
    features,
    (size, size),
    strides=stride,
    padding=((dilation * (size // 2),) * 2,) * 2,
    kernel_dilation=dilation,
    use_bias=False,
    kernel_init=CONV_INIT,
    dtype=dtype,
    name=name,
  )


def _batch_norm(flavour: Flavour, dtype: Any, name: str) -> BatchNorm:
  """The flavour's BatchNorm; frozen statistics are the caller's `use_running_average`."""
  return BatchNorm(epsilon=flavour.epsilon, trainable=flavour.train_affine, dtype=dtype, name=name)


def _max_pool(x: jax.Array, ceil: bool) -> jax.Array:
  """3x3 windows of stride 2 over x [B, H, W, D], padded by one pixel; `ceil` rounds sizes up.

  Rounding up adds a row or column only to even sides, whose last pixel then gets a window alone.
  """
  padding = [(1, 1 + int(ceil and length % 2 == 0)) for length in x.shape[1:3]]
  return nn.max_pool(x, (3, 3), (2, 2), padding)


class Bottleneck(nn.Module):
  """1x1, 3x3 and 1x1 convolutions around a shortcut, which is projected in a stage's first block."""

  features: int
  flavour: Flavour
  stride: int = 1
  dilation: int = 1
  project: bool = False
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """[B, H, W, D] to [B, H / stride, W / stride, 4 * features]."""
    first, second = (self.stride, 1) if self.flavour.stride_first else (1, self.stride)

    def conv_norm(x, features, size, conv, norm, **settings):
      x = _conv(features, size, dtype=self.dtype, name=conv, **settings)(x)
      return _batch_norm(self.flavour, self.dtype, norm)(x, use_running_average=use_running_average)

    y = nn.relu(conv_norm(x, self.features, 1, "conv1", "bn1", stride=first))
    y = conv_norm(y, self.features, 3, "conv2", "bn2", stride=second, dilation=self.dilation)
    y = conv_norm(nn.relu(y), EXPANSION * self.features, 1, "conv3", "bn3")
    if self.project:
      width = EXPANSION * self.features
      x = conv_norm(x, width, 1, "downsample_0", "downsample_1", stride=self.stride)
    return nn.relu(x + y)


class ResNet(nn.Module):
  """The encoder; its four maps have strides 4, 8, 8 and 8 (sizes rounded up).

  Attributes:
    flavour: A key of `FLAVOURS`.
    depths: Blocks of each stage.
    width: Inner channels of the first stage's blocks; its map has four times as many.
    stem_width: Channels behind the stem; None means `width`.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  flavour: str = "v1c"
  depths: tuple[int, int, int, int] = (3, 4, 6, 3)
  width: int = 64
  stem_width: int | None = None
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(
    self, image: jax.Array, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, ...]:
    """The maps of image [B,H,W,3], fine to coarse, each behind its stage's last ReLU."""
    del train  # no dropout
    flavour = self._flavour
    running = use_running_average or flavour.frozen_statistics
    x = image[..., ::-1] if flavour.bgr else image
    x = self._stem(x.astype(self.dtype), flavour, running)
    x = _max_pool(x, flavour.ceil_pool)
    maps = []
    for i, depth in enumerate(self.depths):
      for j in range(depth):
        previous = DILATIONS[max(i - 1, 0)]
        x = Bottleneck(
          self.width * 2**i,
          flavour,
          stride=STRIDES[i] if j == 0 else 1,
          dilation=previous if j == 0 and flavour.contracted else DILATIONS[i],
          project=j == 0,
          dtype=self.dtype,
          name=f"layer{i + 1}_{j}",
        )(x, use_running_average=running)
      maps.append(x)
    return tuple(maps)

  def _stem(self, x: jax.Array, flavour: Flavour, use_running_average: bool) -> jax.Array:
    """[B,H,W,3] to [B,H/2,W/2,stem_width]."""
    width = self.width if self.stem_width is None else self.stem_width
    layers = [(width, 7, 2, "conv1", "bn1")]
    if flavour.deep_stem:
      layers = [
        (width // 2, 3, 2, "stem_0", "stem_1"),
        (width // 2, 3, 1, "stem_3", "stem_4"),
        (width, 3, 1, "stem_6", "stem_7"),
      ]
    for features, size, stride, conv, norm in layers:
      x = _conv(features, size, stride=stride, dtype=self.dtype, name=conv)(x)
      x = _batch_norm(flavour, self.dtype, norm)(x, use_running_average=use_running_average)
      x = nn.relu(x)
    return x

  @property
  def image_mean(self) -> tuple[float, float, float]:
    """The mean color that the weights expect to be subtracted, RGB in [0, 1]."""
    return self._flavour.image_mean

  @property
  def image_std(self) -> tuple[float, float, float]:
    """The standard deviation that the weights expect to be divided by, RGB in [0, 1]."""
    return self._flavour.image_std

  @property
  def _flavour(self) -> Flavour:
    return registry.lookup(FLAVOURS, self.flavour, "model.encoder_options.flavour")


DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
VARIANTS = {
  f"{name}_{flavour}": {"flavour": flavour, "depths": depths}
  for name, depths in DEPTHS.items()
  for flavour in FLAVOURS
}
