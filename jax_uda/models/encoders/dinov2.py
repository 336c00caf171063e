"""DINOv2's Vision Transformer, without registers (Oquab et al., 2024) and with them (Darcet et al., 2024).

Learned positions, patches of 14 pixels; VFM-UDA uses the one map of stride 14. Goldens:
`base/dino_tiny`, `base/dino_pos_embed`, `base/dino2_reg_tiny`.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp

from jax_uda.models.encoders.plain_vit import PlainViT
from jax_uda.models.layers import vit
from jax_uda.models.protocols import Options, Size
from jax_uda.ops import resize

# The official code computes the ratio of two grids as (n + 0.1) / m, against rounding in PyTorch.
SCALE_OFFSET = 0.1


def position_embedding(embedding: jax.Array, grid: Size, *, antialias: bool = False) -> jax.Array:
  """Resizes the learned `embedding` [1, 1 + n * n, D] to h x w tokens: [1, 1 + h * w, D].

  The first position is the cls token's and stays. The others are resized bicubically, unless the
  grid is the learned one. Without `antialias` this is the official way of DINOv2 without registers
  (Hugging Face has no offset, timm antialiases); with it, of DINOv2 with registers. Goldens:
  `base/dino_pos_embed`, `base/dino2_reg_tiny`.
  """
  side = round((embedding.shape[1] - 1) ** 0.5)
  if grid == (side, side):
    return embedding
  dim = embedding.shape[-1]
  patches = embedding[:, 1:].reshape(1, side, side, dim)
  if antialias:
    patches = jax.image.resize(patches, (1, *grid, dim), "cubic", antialias=True)
  else:
    patches = resize.bicubic(patches, grid, scale_offset=SCALE_OFFSET)
  return jnp.concatenate([embedding[:, :1], patches.reshape(1, -1, dim)], 1)


class DINOv2(PlainViT):
  """The encoder; its maps have a token per patch of the enlarged image.

  Attributes:
    enlarge: Factor by which the image is resized first; its sides are then rounded down to
      multiples of the patch. With VFM-UDA's 1.1, an image of 1024 x 1024 becomes 80 x 80 tokens.
    position_grid: Side of the grid on which the position embedding was learned.
  """

  tiny: ClassVar[Options] = {**PlainViT.tiny, "position_grid": 4}

  enlarge: float = 1.1
  position_grid: int = 37

  def token_grid(self, height: int, width: int) -> Size:
    """Returns the rows and columns of tokens of an image of this size, in pixels.

    Raises:
      ValueError: The image is smaller than a patch.
    """
    rows, columns = (int(self.enlarge * side // self.patch) for side in (height, width))
    if not (rows and columns):
      raise ValueError(
        f"an image of {height}x{width}, enlarged {self.enlarge} times, holds no patch of "
        f"{self.patch}x{self.patch}: give a larger image"
      )
    return rows, columns

  def with_positions(self, patches: jax.Array, grid: Size) -> jax.Array:
    """Adds positions to cls and patches [B, h, w, D]; registers have none: [B, N, D]."""
    batch, dim = patches.shape[0], self.embed_dim
    wide = lambda tokens: jnp.broadcast_to(tokens, (batch, *tokens.shape[1:])).astype(self.dtype)
    cls = wide(self.prefix_token("cls_token", 1, std=1e-6))
    positions = self.param("pos_embed", vit.INIT, (1, 1 + self.position_grid**2, dim))
    positions = position_embedding(positions, grid, antialias=self.num_registers > 0)
    x = jnp.concatenate([cls, patches.reshape(batch, -1, dim)], 1) + positions.astype(self.dtype)
    if not self.num_registers:
      return x
    registers = wide(self.prefix_token("register_tokens", self.num_registers, std=1e-6))
    return jnp.concatenate([x[:, :1], registers, x[:, 1:]], 1)


SIZES: dict[str, Options] = {
  "dinov2_vits14": {"embed_dim": 384, "depth": 12, "num_heads": 6},
  "dinov2_vitb14": {"embed_dim": 768, "depth": 12, "num_heads": 12},
  "dinov2_vitl14": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
SIZES |= {f"{name}_reg": {**sizes, "num_registers": 4} for name, sizes in SIZES.items()}
