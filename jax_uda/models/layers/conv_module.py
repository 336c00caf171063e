"""Convolution, norm and ReLU, as decoders stack them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.models.layers.depthwise import DepthwiseConv
from jax_uda.models.layers.norm import BatchNorm

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
