"""CUT's patch embedding: maps generator features at some positions to unit vectors for PatchNCE.

Golden: `confeti/cut_nets`.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.translation import layers


def draw_positions(
  key: jax.Array, features: Sequence[jax.Array], count: int = 256
) -> tuple[jax.Array, ...]:
  """Draws min(count, h * w) distinct positions y * w + x, [P] int32, for each map [B, h, w, D].

  All images of the batch share them, and so do queries and keys.
  """
  keys = jax.random.split(key, len(features))
  sizes = [x.shape[1] * x.shape[2] for x in features]
  return tuple(
    jax.random.choice(k, n, (min(count, n),), replace=False)
    for k, n in zip(keys, sizes, strict=True)
  )


class PatchMLP(nn.Module):
  """Two linear layers with a ReLU between them, separate for each of the generator's maps.

  Attributes:
    dim: Embedding dimension, A, which is also the hidden width.
    dtype: Compute dtype; parameters and embeddings are float32.
  """

  dim: int = 256
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self, features: Sequence[jax.Array], positions: Sequence[jax.Array]
  ) -> tuple[jax.Array, ...]:
    """Embeds each map [B, h_i, w_i, D_i] at positions y * w_i + x, [P_i]: unit vectors [B, P_i, A]."""
    embeddings = []
    for i, (x, places) in enumerate(zip(features, positions, strict=True)):
      x = x.reshape(x.shape[0], -1, x.shape[-1])[:, places]
      x = nn.relu(self._linear(f"mlp_{i}_0")(x))
      x = self._linear(f"mlp_{i}_2")(x).astype(jnp.float32)
      # As in the reference: untrained embeddings are so short that the 1e-7 matters. The bound
      # 1e-30 keeps the gradient of a zero vector finite.
      squared = jnp.sum(x * x, -1, keepdims=True)
      embeddings.append(x / (jnp.sqrt(jnp.maximum(squared, 1e-30)) + 1e-7))
    return tuple(embeddings)

  def _linear(self, name: str) -> nn.Dense:
    return nn.Dense(self.dim, kernel_init=layers.INIT, dtype=self.dtype, name=name)
