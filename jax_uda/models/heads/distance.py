"""VFM-UDA++'s head that compares the student's coarsest map with a frozen foundation model's.

Golden: `vfm_plus/feature_distance_vfm`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers import vit
from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform
from jax_uda.models.protocols import Features


class DistanceHead(nn.Module):
  """Two 1x1 convolutions with a layer norm and a GELU between them; training alone needs it.

  Attributes:
    dim: Channels of the result, those of the foundation model.
    dtype: Compute dtype; parameters and the result are float32.
  """

  dim: int = 1024
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, fused: jax.Array | None = None, **mode: bool) -> jax.Array:
    """Maps the last of the encoder's maps, [B, h, w, D], to [B, h, w, dim] float32."""
    del fused, mode
    x = features[-1]

    def conv(features: int, number: int, dtype: DTypeLike) -> nn.Conv:
      return nn.Conv(
        features,
        (1, 1),
        kernel_init=TORCH_WEIGHTS,
        bias_init=torch_uniform(x.shape[-1]),
        dtype=dtype,
        name=f"feat_project_{number}",
      )

    x = conv(4 * x.shape[-1], 0, self.dtype)(x)
    x = nn.gelu(vit.norm(self.dtype, "feat_project_1")(x), approximate=False)
    return conv(self.dim, 3, jnp.float32)(x.astype(jnp.float32))
