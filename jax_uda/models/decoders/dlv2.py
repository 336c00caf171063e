"""The decoder of DeepLabV2 (Chen et al., 2017): the sum of dilated 3x3 convolutions of the last map.

It has no norm, no ReLU and no dropout. A widely copied implementation returns after two of its four
branches; `dilations=(6, 12)` is that network (RCCR; `dlv2red` of the DAFormer family). Module names
follow the released checkpoints. Goldens: `base/dlv2_head`, `base/deeplab_*`,
`rccr/classifier_two_branch`.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import torch_uniform
from jax_uda.models.protocols import Features, Options


class DilatedConv(nn.Module):
  """One branch: a 3x3 convolution with bias, padded by its dilation.

  Weights start as N(0, 0.01^2) and biases as PyTorch's default, as in SPCL and RCCR.

  Attributes:
    features: Channels of the result.
    dilation: Dilation of the convolution.
    dtype: Compute dtype; parameters are float32.
  """

  features: int
  dilation: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to [B, H, W, features]."""
    pad = (self.dilation, self.dilation)
    return nn.Conv(
      self.features,
      (3, 3),
      kernel_dilation=self.dilation,
      padding=(pad, pad),
      kernel_init=nn.initializers.normal(0.01),
      bias_init=torch_uniform(9 * x.shape[-1]),
      dtype=self.dtype,
      name="conv",
    )(x)


class DLV2Head(nn.Module):
  """The decoder; its logits have the stride of the coarsest map, which is returned as fused map.

  Attributes:
    num_classes: Channels of the logits, C.
    dilations: Dilation of each branch.
    dtype: Compute dtype; parameters and logits are float32.
  """

  tiny: ClassVar[Options] = {}

  num_classes: int
  dilations: tuple[int, ...] = (6, 12, 18, 24)
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns logits [B,h,w,C] and the coarsest of the maps, [B,h,w,D]."""
    del train, use_running_average  # no dropout, no BatchNorm
    x = features[-1]
    branches = [
      DilatedConv(self.num_classes, dilation, self.dtype, name=f"aspp_modules_{i}")(x)
      for i, dilation in enumerate(self.dilations)
    ]
    return sum((branch.astype(jnp.float32) for branch in branches), jnp.float32(0)), x
