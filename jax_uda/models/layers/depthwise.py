"""Depthwise convolution that is fast on every backend."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.common import platform

METHODS = ("auto", "shift", "conv")


class DepthwiseConv(nn.Module):
  """A k x k filter per channel, padded so that sides become ceil(side / stride).

  XLA's grouped convolution is several times slower on a CPU than the sum of k * k shifted
  products, which is exact as well; accelerators have kernels for it. The parameters are
  those of `nn.Conv(D, (k, k), feature_group_count=D)`.

  Attributes:
    kernel_size: Side of the filter, k; odd.
    dilation: Distance of the filter's taps.
    stride: Distance of the outputs. Above 1 the padding depends on the size, as TensorFlow's SAME:
      if the padding is odd, its larger half comes after the image.
    use_bias: Whether to add a bias.
    method: How to compute it: "shift" sums shifted products, "conv" is XLA's grouped convolution, and
      "auto" means "shift" on a CPU, else "conv".
    kernel_init: Initialiser of the kernel [k, k, 1, D].
    dtype: Compute dtype; parameters are float32.
  """

  kernel_size: int = 3
  dilation: int = 1
  stride: int = 1
  use_bias: bool = True
  method: str = "auto"
  kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to [B, ceil(H / stride), ceil(W / stride), D].

    Raises:
      ValueError: The method is unknown.
    """
    if self.method not in METHODS:
      raise ValueError(f"depthwise method {self.method!r} is unknown; choose from {METHODS}")
    k, channels = self.kernel_size, x.shape[-1]
    kernel = self.param("kernel", self.kernel_init, (k, k, 1, channels)).astype(self.dtype)
    by_shifts = self.method == "shift" or (self.method == "auto" and platform.name() == "cpu")
    y = (self._shifts if by_shifts else self._conv)(x.astype(self.dtype), kernel)
    if self.use_bias:
      y = y + self.param("bias", nn.initializers.zeros, (channels,)).astype(self.dtype)
    return y

  def _shifts(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    (height, pad_y), (width, pad_x) = map(self._out_and_padding, x.shape[1:3])
    x = jnp.pad(x, ((0, 0), pad_y, pad_x, (0, 0)))

    def under(tap: int, outputs: int) -> slice:
      first = tap * self.dilation
      return slice(first, first + (outputs - 1) * self.stride + 1, self.stride)

    products = (
      x[:, under(i, height), under(j, width)] * kernel[i, j, 0]
      for i in range(self.kernel_size)
      for j in range(self.kernel_size)
    )
    return functools.reduce(jnp.add, products)

  def _conv(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(
      x,
      kernel,
      window_strides=(self.stride, self.stride),
      padding=[self._out_and_padding(length)[1] for length in x.shape[1:3]],
      rhs_dilation=(self.dilation, self.dilation),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=x.shape[-1],
    )

  def _out_and_padding(self, length: int) -> tuple[int, tuple[int, int]]:
    """Returns the length of an axis of the result, and the padding before and after the input."""
    out = -(-length // self.stride)
    reach = self.dilation * (self.kernel_size - 1) + 1
    padding = max((out - 1) * self.stride + reach - length, 0)
    return out, (padding // 2, padding - padding // 2)
