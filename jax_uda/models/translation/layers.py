"""Layers of CUT's networks: antialiased resampling, instance norm, mirrored padding.

The constant blur filters are written as sums of shifted maps: a product with a resizing matrix would
cost as much as the convolution that follows.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform

# Xavier normal with gain 0.02, in the patch MLP too; biases start at 0. CUT's.
INIT = nn.initializers.variance_scaling(0.02**2, "fan_avg", "normal")


def reflect_pad(width: int) -> Callable[[jax.Array], jax.Array]:
  """Returns a function that mirrors [B, H, W, D] at its borders, without repeating them.

  `width` is the number of pixels added on each side, less than H and W.
  """
  pads = ((0, 0), (width, width), (width, width), (0, 0))
  return lambda x: jnp.pad(x, pads, mode="reflect")


def downsample(x: jax.Array) -> jax.Array:
  """Blurs [B, H, W, D] with [1, 2, 1] / 4 and keeps every second pixel: [B, ceil(H/2), ceil(W/2), D]."""
  x = reflect_pad(1)(x)
  x = (x[:, :-2:2] + 2 * x[:, 1:-1:2] + x[:, 2::2]) / 4
  return (x[:, :, :-2:2] + 2 * x[:, :, 1:-1:2] + x[:, :, 2::2]) / 4


def upsample(x: jax.Array) -> jax.Array:
  """Doubles [B, H, W, D] bilinearly to [B, 2 H, 2 W, D], with clamped edges.

  Pixel centers lie at half-integers.
  """
  for axis in (1, 2):
    length = x.shape[axis]
    x = jnp.pad(x, [(1, 1) if i == axis else (0, 0) for i in range(4)], mode="edge")
    before, here, after = (jax.lax.slice_in_dim(x, i, i + length, axis=axis) for i in range(3))
    pairs = jnp.stack([0.25 * before + 0.75 * here, 0.75 * here + 0.25 * after], axis + 1)
    x = pairs.reshape(*x.shape[:axis], 2 * length, *x.shape[axis + 1 :])
  return x


def conv(
  features: int, kernel_size: int, *, padding: int = 0, dtype: DTypeLike, torch_inputs: int = 0
) -> nn.Conv:
  """Returns a convolution with bias, padded with zeros.

  Args:
    features: Channels that it returns.
    kernel_size: Side of its kernel.
    padding: Pixels added on each side.
    dtype: Compute dtype; parameters are float32.
    torch_inputs: If its weights and biases start as in PyTorch (CONFETII), the channels that it gets; 0:
      they start as in CUT.
  """
  torch_bias = torch_uniform(max(torch_inputs, 1) * kernel_size**2)
  return nn.Conv(
    features,
    (kernel_size,) * 2,
    padding=((padding, padding),) * 2,
    kernel_init=TORCH_WEIGHTS if torch_inputs else INIT,
    bias_init=torch_bias if torch_inputs else nn.initializers.zeros,
    dtype=dtype,
  )


def instance_norm(dtype: DTypeLike) -> nn.InstanceNorm:
  """Returns a norm of each channel of each image, without parameters; float32 inside."""
  return nn.InstanceNorm(
    epsilon=1e-5, use_bias=False, use_scale=False, use_fast_variance=False, dtype=dtype
  )
