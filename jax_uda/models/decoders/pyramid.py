"""VFM-UDA++'s pyramid head: from the coarsest of four maps up to the finest, one enlargement per map.

Module names follow the released checkpoints. Golden: `vfm_plus/pyramid_head`.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.up_conv import UpConv
from jax_uda.models.layers.vit_adapter import batch_norm
from jax_uda.models.protocols import Features, Options
from jax_uda.ops import resize

# PyTorch's Kaiming-uniform. It takes a transposed convolution's inputs for outputs.
CONV_INIT = nn.initializers.variance_scaling(2.0, "fan_in", "uniform")
UP_INIT = nn.initializers.variance_scaling(2.0, "fan_out", "uniform")


class Pyramid(nn.Module):
  """The head without its classifier.

  Attributes:
    dtype: Compute dtype; parameters and BatchNorm statistics are float32.
  """

  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, *, use_running_average: bool) -> jax.Array:
    """Maps the maps [B, h_i, w_i, D], fine to coarse, to [B, h_0, w_0, D / 2^(their number - 1)]."""

    def conv(features: int, side: int, name: str) -> nn.Conv:
      pad = side // 2
      padding = ((pad, pad), (pad, pad))
      return nn.Conv(
        features,
        (side, side),
        padding=padding,
        kernel_init=CONV_INIT,
        dtype=self.dtype,
        name=name,
      )

    *finer, x = features
    for number, level in enumerate(reversed(finer), 1):
      width = max(features[-1].shape[-1] // 2**number, 1)
      options = {"use_bias": True, "kernel_init": UP_INIT, "dtype": self.dtype}
      x = UpConv(width, **options, name=f"up_conv{number}")(x)
      # Maps of other encoders need not be half as large as the next.
      x = resize.bilinear(x, resize.size_of(level))
      x = conv(width, 3, f"smooth_conv{number}")(x + conv(width, 1, f"reduce_conv{number}")(level))
      norm = batch_norm(self.dtype, f"norm{number}")
      x = nn.relu(norm(x, use_running_average=use_running_average))
    return conv(x.shape[-1], 3, f"smooth_conv{len(features)}")(x)


class PyramidHead(nn.Module):
  """The decoder; its logits have the finest map's size.

  Attributes:
    num_classes: Channels of the logits, C.
    dtype: Compute dtype; parameters, BatchNorm statistics and logits are float32.
  """

  tiny: ClassVar[Options] = {}

  num_classes: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Maps maps [B, h_i, w_i, D], fine to coarse, to logits [B, h_0, w_0, C] and the fused map."""
    del train  # no dropout
    pyramid = Pyramid(self.dtype, name="upscale")
    fused = pyramid(features, use_running_average=use_running_average)
    classifier = nn.Conv(
      self.num_classes, (1, 1), use_bias=False, kernel_init=nn.initializers.normal(0.1), name="out"
    )
    return classifier(fused.astype(jnp.float32)), fused
