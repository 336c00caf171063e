"""A top-down decoder for cheap networks: one 3x3 convolution per level."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.norm import GroupNorm
from jax_uda.models.protocols import Features, Options
from jax_uda.ops import resize


class LightDecoder(nn.Module):
  """Adds each finer map to the enlarged coarser one and smooths the sum (a feature pyramid).

  Attributes:
    num_classes: Channels of the logits, C.
    width: Channels of every level and of the fused map.
    dtype: Compute dtype; parameters and logits are float32.
  """

  tiny: ClassVar[Options] = {"width": 16}

  num_classes: int
  width: int = 48
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns logits [B,h,w,C] and the fused map [B,h,w,width], both at the finest stride."""
    del train, use_running_average  # no dropout, no BatchNorm
    *finer, coarsest = features
    x = self._lateral(len(finer), coarsest)
    for level in reversed(range(len(finer))):
      fine = finer[level]
      x = resize.bilinear(x, (fine.shape[1], fine.shape[2])) + self._lateral(level, fine)
      x = nn.Conv(
        self.width,
        (3, 3),
        padding=((1, 1), (1, 1)),
        use_bias=False,
        kernel_init=nn.initializers.he_normal(),
        dtype=self.dtype,
        name=f"smooth{level}",
      )(x)
      x = nn.relu(GroupNorm(dtype=self.dtype, name=f"norm{level}")(x))
    # Small, so that the first predictions are near uniform whatever the width.
    init = nn.initializers.normal(0.01)
    logits = nn.Dense(self.num_classes, kernel_init=init, name="classifier")(x)
    return logits, x

  def _lateral(self, level: int, feature: jax.Array) -> jax.Array:
    return nn.Dense(self.width, dtype=self.dtype, name=f"lateral{level}")(feature)
