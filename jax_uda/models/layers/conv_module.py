"""The block of convolution, norm and ReLU of which decoders and heads are made."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.depthwise import DepthwiseConv
from jax_uda.models.layers.norm import BatchNorm

# Kaiming normal with fan-out k * k * out, in depthwise convolutions too, as in the reference.
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvModule(nn.Module):
  """A convolution without bias, BatchNorm and ReLU.

  Attributes:
    features: Channels of the result; None makes the convolution depthwise.
    kernel_size: Side of the convolution's kernel, odd.
    dilation: Dilation of the convolution.
    depthwise: How a depthwise convolution is computed, see `DepthwiseConv`.
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  features: int | None
  kernel_size: int = 1
  dilation: int = 1
  depthwise: str = "auto"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """Maps [B, H, W, D] to [B, H, W, features or D]."""
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
