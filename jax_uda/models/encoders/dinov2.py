"""DINOv2's Vision Transformer (Oquab et al., 2024) as VFM-UDA uses it: one map, stride 14.

Module names follow the official checkpoints (`blocks_0` here is `blocks.0` there). Goldens:
`base/dino_tiny`, `base/dino_pos_embed`.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.models.encoders import imagenet
from jax_uda.models.layers import block_stack
from jax_uda.models.layers.initializers import TORCH_WEIGHTS
from jax_uda.ops import resize

PATCH = 14
EPSILON = 1e-6
# The official code takes the ratio of two grids as (n + 0.1) / m, against rounding in PyTorch.
SCALE_OFFSET = 0.1
# PyTorch's `trunc_normal_` cuts at +-2, which is 100 standard deviations here: a plain normal.
INIT = nn.initializers.normal(0.02)


def _norm(dtype: Any, name: str) -> nn.LayerNorm:
  return nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, dtype=dtype, name=name)


def _linear(features: int, dtype: Any, name: str) -> nn.Dense:
  return nn.Dense(features, kernel_init=INIT, dtype=dtype, name=name)


class Attention(nn.Module):
  """Multi-head self-attention over all tokens."""

  num_heads: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, N, D] to the same shape."""
    batch, tokens, dim = x.shape
    qkv = _linear(3 * dim, self.dtype, "qkv")(x)
    qkv = qkv.reshape(batch, tokens, 3, self.num_heads, dim // self.num_heads)
    y = jax.nn.dot_product_attention(qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2])
    return _linear(dim, self.dtype, "proj")(y.reshape(batch, tokens, dim))


class MLP(nn.Module):
  """Linear, GELU, linear."""

  hidden: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, N, D] to the same shape."""
    dim = x.shape[-1]
    x = nn.gelu(_linear(self.hidden, self.dtype, "fc1")(x), approximate=False)
    return _linear(dim, self.dtype, "fc2")(x)


class LayerScale(nn.Module):
  """A learnt factor per channel."""

  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[..., D] to the same shape."""
    return x * self.param("gamma", nn.initializers.ones, x.shape[-1:]).astype(self.dtype)


class Block(nn.Module):
  """Attention and feed-forward net, each behind a norm and with its own layer scale."""

  num_heads: int
  mlp_ratio: int = 4
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, N, D] to the same shape."""
    attention = Attention(self.num_heads, dtype=self.dtype, name="attn")
    y = attention(_norm(self.dtype, "norm1")(x))
    x = x + LayerScale(self.dtype, name="ls1")(y)
    mlp = MLP(self.mlp_ratio * x.shape[-1], dtype=self.dtype, name="mlp")
    return x + LayerScale(self.dtype, name="ls2")(mlp(_norm(self.dtype, "norm2")(x)))


def position_embedding(embedding: jax.Array, grid: tuple[int, int]) -> jax.Array:
  """The learnt `embedding` [1, 1 + n * n, D] for a grid of h x w tokens: [1, 1 + h * w, D].

  The first is the cls token's; the others are resized bicubically, unless they fit as they are.
  Hugging Face (no offset) and timm (antialiased) resize differently; this is the official way.
  Golden: `base/dino_pos_embed`.
  """
  learnt = round((embedding.shape[1] - 1) ** 0.5)
  if grid == (learnt, learnt):
    return embedding
  dim = embedding.shape[-1]
  patches = embedding[:, 1:].reshape(1, learnt, learnt, dim)
  patches = resize.bicubic(patches, grid, scale_offset=SCALE_OFFSET).reshape(1, -1, dim)
  return jnp.concatenate([embedding[:, :1], patches], 1)


class DINOv2(nn.Module):
  """The encoder; its one map has a token for every 14 x 14 pixels of the enlarged image.

  Attributes:
    embed_dim: Channels.
    depth: Blocks.
    num_heads: Attention heads.
    enlarge: The image is first resized to this multiple of its sides, rounded down to multiples
      of 14; with VFM-UDA's 1.1 an image of 1024 x 1024 becomes 80 x 80 tokens.
    position_grid: Side of the grid that the position embedding was learnt on.
    scan_blocks: Whether the blocks compile as one loop, see `block_stack.run`.
    remat: Whether the backward pass computes each block again to save memory, see there.
    dtype: Compute dtype; parameters are float32.
  """

  image_mean = imagenet.MEAN
  image_std = imagenet.STD

  embed_dim: int = 768
  depth: int = 12
  num_heads: int = 12
  enlarge: float = 1.1
  position_grid: int = 37
  scan_blocks: bool = False
  remat: bool = False
  dtype: Any = jnp.float32

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
    """The map [B, h, w, D] of image [B, H, W, 3], behind the last norm.

    Args:
      image: Standardised with ImageNet's statistics.
      train: Without effect: there is neither dropout nor drop path.
      use_running_average: Without effect: there is no BatchNorm.
      token_mask: [B, h, w] bool with (h, w) = `token_grid(H, W)`; where True, the patch is
        replaced by the learnt mask token (its position stays).
      mask_ratio: Instead, the share of tokens to hide at random, from the rng stream `tokens`; VFM-UDA
        hides 0.7.

    Returns:
      A tuple of one map.

    Raises:
      ValueError: the image is smaller than a patch, or the mask has another shape.
    """
    del train, use_running_average
    grid = self.token_grid(*image.shape[1:3])
    image = resize.bilinear(image, (grid[0] * PATCH, grid[1] * PATCH)).astype(self.dtype)
    patches = self._patches(image)
    if mask_ratio:
      token_mask = jax.random.uniform(self.make_rng("tokens"), patches.shape[:-1]) < mask_ratio
    x = self._with_cls(self._hide(patches, token_mask), grid)
    blocks = [
      Block(self.num_heads, dtype=self.dtype, name=f"blocks_{i}") for i in range(self.depth)
    ]
    call = lambda block, x, _: block(x)
    never = [0.0] * self.depth  # no drop path
    x = block_stack.run(self, blocks, x, call, never, scan=self.scan_blocks, remat=self.remat)
    x = _norm(self.dtype, "norm")(x)
    return (x[:, 1:].reshape(-1, *grid, self.embed_dim),)

  def token_grid(self, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of tokens for an image of this size; ValueError if it has none."""
    grid = int(self.enlarge * height // PATCH), int(self.enlarge * width // PATCH)
    if not all(grid):
      raise ValueError(
        f"an image of {height}x{width}, enlarged {self.enlarge} times, holds no patch of "
        f"{PATCH}x{PATCH}: give a larger image"
      )
    return grid

  def _patches(self, image: jax.Array) -> jax.Array:
    """Embeds the patches of the image: [B, h, w, D]."""
    return PatchEmbed(self.embed_dim, self.dtype, name="patch_embed")(image)

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

  def _with_cls(self, patches: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Puts the cls token before the patches and adds positions: [B, 1 + h * w, D]."""
    dim = self.embed_dim
    cls = self.param("cls_token", nn.initializers.normal(1e-6), (1, 1, dim))
    positions = self.param("pos_embed", INIT, (1, 1 + self.position_grid**2, dim))
    cls = jnp.broadcast_to(cls, (patches.shape[0], 1, dim)).astype(self.dtype)
    x = jnp.concatenate([cls, patches.reshape(patches.shape[0], -1, dim)], 1)
    return x + position_embedding(positions, grid).astype(self.dtype)


class PatchEmbed(nn.Module):
  """A linear map of every 14 x 14 patch."""

  dim: int
  dtype: Any = jnp.float32

  @nn.compact
  def __call__(self, image: jax.Array) -> jax.Array:
    """[B, 14 h, 14 w, 3] to [B, h, w, dim]."""
    return nn.Conv(
      self.dim,
      (PATCH, PATCH),
      strides=PATCH,
      padding="VALID",
      kernel_init=TORCH_WEIGHTS,
      dtype=self.dtype,
      name="proj",
    )(image)


VARIANTS = {
  "dinov2_vits14": {"embed_dim": 384, "depth": 12, "num_heads": 6},
  "dinov2_vitb14": {"embed_dim": 768, "depth": 12, "num_heads": 12},
  "dinov2_vitl14": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
