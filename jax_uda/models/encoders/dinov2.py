"""DINOv2's Vision Transformer (Oquab et al., 2024) as VFM-UDA uses it: one map, stride 14.

Module names follow the official checkpoints (`blocks_0` here is `blocks.0` there). Goldens:
`base/dino_tiny`, `base/dino_pos_embed`.
"""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.encoders import imagenet
from jax_uda.models.layers import block_stack, vit
from jax_uda.models.protocols import Options, Size
from jax_uda.ops import resize

# The official code computes the ratio of two grids as (n + 0.1) / m, against rounding in PyTorch.
SCALE_OFFSET = 0.1


def position_embedding(embedding: jax.Array, grid: Size) -> jax.Array:
  """Resizes the learned `embedding` [1, 1 + n * n, D] to h x w tokens: [1, 1 + h * w, D].

  The first position is the cls token's and stays. The others are resized bicubically, unless the
  grid is the learned one. Hugging Face (no offset) and timm (antialiased) resize differently; this
  is the official way. Golden: `base/dino_pos_embed`.
  """
  side = round((embedding.shape[1] - 1) ** 0.5)
  if grid == (side, side):
    return embedding
  dim = embedding.shape[-1]
  patches = embedding[:, 1:].reshape(1, side, side, dim)
  patches = resize.bicubic(patches, grid, scale_offset=SCALE_OFFSET).reshape(1, -1, dim)
  return jnp.concatenate([embedding[:, :1], patches], 1)


class DINOv2(nn.Module):
  """The encoder; its one map has a token per patch of the enlarged image.

  Attributes:
    embed_dim: Channels of a token, D.
    depth: Number of blocks.
    num_heads: Attention heads; divides D.
    patch: Side of a patch in pixels.
    enlarge: Factor by which the image is resized first; its sides are then rounded down to
      multiples of the patch. With VFM-UDA's 1.1, an image of 1024 x 1024 becomes 80 x 80 tokens.
    position_grid: Side of the grid on which the position embedding was learned.
    scan_blocks: Whether the blocks compile as one loop, see `block_stack.run`.
    remat: Whether the backward pass computes each block again to save memory.
    dtype: Compute dtype; parameters are float32.
  """

  image_mean = imagenet.MEAN
  image_std = imagenet.STD
  tiny: ClassVar[Options] = {"embed_dim": 32, "depth": 1, "num_heads": 2, "position_grid": 4}

  embed_dim: int = 768
  depth: int = 12
  num_heads: int = 12
  patch: int = 14
  enlarge: float = 1.1
  position_grid: int = 37
  scan_blocks: bool = False
  remat: bool = False
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    token_mask: jax.Array | None = None,
    mask_ratio: float = 0.0,
  ) -> tuple[jax.Array]:
    """Returns the map [B, h, w, D] of the image, after the last norm.

    Args:
      image: [B, H, W, 3], standardised with ImageNet's statistics.
      train: Ignored: the network has neither dropout nor drop path.
      use_running_average: Ignored: the network has no BatchNorm.
      token_mask: [B, h, w] bool with (h, w) = `token_grid(H, W)`; where it is True, the learned
        mask token replaces the patch, whose position stays.
      mask_ratio: Share of tokens to hide at random, in [0, 1); used instead of `token_mask`, and
        drawn from the rng stream `tokens`. VFM-UDA hides 0.7.

    Returns:
      A tuple of one map.

    Raises:
      ValueError: The image is smaller than a patch, or the mask has another shape.
    """
    del train, use_running_average
    height, width = self.token_grid(*image.shape[1:3])
    image = resize.bilinear(image, (height * self.patch, width * self.patch)).astype(self.dtype)
    patches = vit.PatchEmbed(self.embed_dim, self.patch, self.dtype, name="patch_embed")(image)
    if mask_ratio:
      token_mask = jax.random.uniform(self.make_rng("tokens"), patches.shape[:-1]) < mask_ratio
    x = self._with_cls(self._hide(patches, token_mask), (height, width))
    blocks = [
      vit.Block(self.num_heads, dtype=self.dtype, name=f"blocks_{i}") for i in range(self.depth)
    ]
    call = lambda block, x, _: block(x)
    no_drop_path = [0.0] * self.depth
    x = block_stack.run(
      self, blocks, x, call, no_drop_path, scan=self.scan_blocks, remat=self.remat
    )
    x = vit.norm(self.dtype, "norm")(x)
    return (x[:, 1:].reshape(-1, height, width, self.embed_dim),)

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

  def _hide(self, patches: jax.Array, token_mask: jax.Array | None) -> jax.Array:
    """Replaces masked patches [B, h, w, D] by the mask token, a parameter even if unused."""
    token = self.param("mask_token", nn.initializers.zeros, (1, self.embed_dim))
    if token_mask is None:
      return patches
    if token_mask.shape != patches.shape[:-1]:
      raise ValueError(
        f"token_mask has shape {token_mask.shape}, but the tokens have {patches.shape[:-1]}: "
        "draw it for `token_grid` of the image's size"
      )
    return jnp.where(token_mask[..., None].astype(bool), token.astype(self.dtype), patches)

  def _with_cls(self, patches: jax.Array, grid: Size) -> jax.Array:
    """Puts the cls token before the patches [B, h, w, D] and adds positions: [B, 1 + h * w, D]."""
    dim = self.embed_dim
    cls = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, dim))
    positions = self.param("pos_embed", vit.INIT, (1, 1 + self.position_grid**2, dim))
    cls = jnp.broadcast_to(cls, (patches.shape[0], 1, dim)).astype(self.dtype)
    x = jnp.concatenate([cls, patches.reshape(patches.shape[0], -1, dim)], 1)
    return x + position_embedding(positions, grid).astype(self.dtype)


SIZES: dict[str, Options] = {
  "dinov2_vits14": {"embed_dim": 384, "depth": 12, "num_heads": 6},
  "dinov2_vitb14": {"embed_dim": 768, "depth": 12, "num_heads": 12},
  "dinov2_vitl14": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
