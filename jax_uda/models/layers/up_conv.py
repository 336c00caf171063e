"""An enlargement to twice the sides by a transposed convolution."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import TORCH_WEIGHTS


class UpConv(nn.Module):
  """A transposed convolution, kernel and stride 2: a linear map to 2 x 2 pixels.

  The kernel is that of `nn.ConvTranspose(…, transpose_kernel=True)`, [2, 2, features, D]. XLA's
  transposed convolution is 17 times slower on a CPU.

  Attributes:
    features: Channels of the result.
    use_bias: Whether to add a bias.
    kernel_init: Initialiser of the kernel. The default is PyTorch's, which counts a transposed
      convolution's outputs as fan_in.
    dtype: Compute dtype; parameters are float32.
  """

  features: int
  use_bias: bool = False
  kernel_init: nn.initializers.Initializer = TORCH_WEIGHTS
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps [B, H, W, D] to [B, 2 H, 2 W, features]."""
    batch, height, width, dim = x.shape
    kernel = self.param("kernel", self.kernel_init, (2, 2, self.features, dim)).astype(self.dtype)
    y = jnp.einsum("bhwi,yxoi->bhywxo", x.astype(self.dtype), kernel)
    y = y.reshape(batch, 2 * height, 2 * width, self.features)
    if self.use_bias:
      y += self.param("bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
    return y
