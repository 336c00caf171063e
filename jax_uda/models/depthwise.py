"""Depthwise convolution that is fast on every backend."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

METHODS = ("auto", "shift", "conv")


class DepthwiseConv(nn.Module):
  """A k x k filter per channel, stride 1, padded to keep the size.

  XLA's grouped convolution is several times slower on a CPU than the sum of k * k shifted
  products, which is exact as well; accelerators have kernels for it. The parameters are
  those of `nn.Conv(D, (k, k), feature_group_count=D)`.

  Attributes:
    kernel_size: k, odd.
    dilation: Distance of the taps.
    use_bias: Whether to add a bias.
    method: `shift`, `conv`, or `auto`: `shift` where JAX's default backend is the CPU.
    kernel_init: Initialiser of the kernel [k, k, 1, D].
    dtype: Compute dtype; parameters are float32.
  """

  kernel_size: int = 3
  dilation: int = 1
  use_bias: bool = True
  method: str = "auto"
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Filters x [B, H, W, D]; ValueError for an unknown method."""
    if self.method not in METHODS:
      raise ValueError(f"depthwise method {self.method!r} is unknown; choose from {METHODS}")
    k, channels = self.kernel_size, x.shape[-1]
    kernel = self.param("kernel", self.kernel_init, (k, k, 1, channels)).astype(self.dtype)
    by_shifts = self.method == "shift" or (self.method == "auto" and jax.default_backend() == "cpu")
    y = (self._shifts if by_shifts else self._conv)(x.astype(self.dtype), kernel)
    if self.use_bias:
      y = y + self.param("bias", nn.initializers.zeros, (channels,)).astype(self.dtype)
    return y

  def _shifts(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    height, width = x.shape[1:3]
    pad, step = self.dilation * (self.kernel_size // 2), self.dilation
    x = jnp.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    return sum(
      x[:, i * step : i * step + height, j * step : j * step + width] * kernel[i, j, 0]
      for i in range(self.kernel_size)
      for j in range(self.kernel_size)
    )

  def _conv(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    pad = self.dilation * (self.kernel_size // 2)
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      window_strides=(1, 1),
      padding=((pad, pad), (pad, pad)),
      rhs_dilation=(self.dilation, self.dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=x.shape[-1],
    )
