"""VFM-UDA's light decoder of the map of a Vision Transformer: two enlargements, one convolution.

Module names follow the released checkpoints (`upscale_0` here is `upscale.0` there). Golden:
`base/dino_tiny`.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers import vit
from jax_uda.models.layers.initializers import TORCH_WEIGHTS
from jax_uda.models.layers.up_conv import UpConv
from jax_uda.models.protocols import Features, Options


class ViTHead(nn.Module):
  """The decoder; its logits have a quarter of the tokens' stride.

  Attributes:
    num_classes: Channels of the logits, C.
    dtype: Compute dtype; parameters and logits are float32.
  """

  tiny: ClassVar[Options] = {}

  num_classes: int
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Maps the last map [B,h,w,D] to logits [B,4h,4w,C] and the fused map [B,4h,4w,D/4]."""
    del train, use_running_average  # no dropout, no BatchNorm
    x = features[-1]
    half, quarter = x.shape[-1] // 2, x.shape[-1] // 4
    x = vit.norm(self.dtype, "upscale_1")(UpConv(half, dtype=self.dtype, name="upscale_0")(x))
    x = nn.gelu(x, approximate=False)
    x = vit.norm(self.dtype, "upscale_4")(UpConv(quarter, dtype=self.dtype, name="upscale_3")(x))
    x = nn.Conv(
      quarter,
      (3, 3),
      padding=((1, 1), (1, 1)),
      use_bias=False,
      kernel_init=TORCH_WEIGHTS,
      dtype=self.dtype,
      name="upscale_5",
    )(x)
    fused = vit.norm(self.dtype, "upscale_6")(x)
    classifier = nn.Conv(
      self.num_classes, (1, 1), use_bias=False, kernel_init=nn.initializers.normal(0.1), name="out"
    )
    return classifier(fused.astype(jnp.float32)), fused
