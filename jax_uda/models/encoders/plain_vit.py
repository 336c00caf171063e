"""What the plain Vision Transformers share: patches, mask token, blocks, taps.

`dinov2` and `dinov3` add how a token knows its place. Module names follow the official checkpoints
(`blocks_0` here is `blocks.0` there).
"""

import contextlib
import itertools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.encoders import imagenet
from jax_uda.models.layers import block_stack, rotary, vit
from jax_uda.models.layers import rein as rein_lib
from jax_uda.models.layers.lora import LoRA
from jax_uda.models.layers.rein import Rein
from jax_uda.models.protocols import Color, Features, Options, Size
from jax_uda.ops import resize


class PlainViT(nn.Module):
  """The base of the encoders; a subclass says how tokens get positions and how images are fitted.

  Attributes:
    embed_dim: Channels of a token, D.
    depth: Number of blocks.
    num_heads: Attention heads; divides D.
    patch: Side of a patch in pixels.
    num_registers: Further tokens beside cls that belong to no patch.
    taps: Blocks, counted from 0, whose tokens are the maps, e.g. (2, 5, 8, 11) for a decoder of four
      levels; empty: the last block alone.
    tap_norm: Whether the last norm is applied to every tap.
    adapter: LoRA on the linear layers of the blocks, or Rein behind each block; or None.
    image_mean: Color that is subtracted from the image, RGB.
    image_std: Standard deviation by which it is divided, RGB.
    scan_blocks: Whether the blocks compile as one loop, see `block_stack.run`; one loop per tap.
      "auto": on accelerators.
    remat: Whether the backward pass computes each block again to save memory.
    dtype: Compute dtype; parameters are float32.
  """

  tiny: ClassVar[Options] = {"embed_dim": 32, "depth": 1, "num_heads": 2, "taps": ()}

  embed_dim: int = 768
  depth: int = 12
  num_heads: int = 12
  patch: int = 14
  num_registers: int = 0
  taps: tuple[int, ...] = ()
  tap_norm: bool = True
  adapter: LoRA | Rein | None = None
  image_mean: Color = imagenet.MEAN
  image_std: Color = imagenet.STD
  scan_blocks: bool | str = "auto"
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
    adapted: bool = True,
  ) -> Features:
    """Returns a map [B, h, w, D] per tap.

    Args:
      image: [B, H, W, 3], standardised.
      train: Whether DINOv3's `rope_rescale` draws; the network has neither dropout nor drop path.
      use_running_average: Ignored: the network has no BatchNorm.
      token_mask: [B, h, w] bool with (h, w) = `token_grid(H, W)`; where it is True, the learned
        mask token replaces the patch, whose position stays.
      mask_ratio: Share of tokens to hide at random, in [0, 1); used instead of `token_mask`, and
        drawn from the rng stream `tokens`. VFM-UDA hides 0.7.
      adapted: Whether the adapter, if there is one, is on.

    Raises:
      ValueError: The image is smaller than a patch, the mask has another shape, a tap is no block, or the
        adapter's targets are no layers.
    """
    del use_running_average
    grid = self.token_grid(*image.shape[1:3])
    image = self.fit(image, grid).astype(self.dtype)
    patches = vit.PatchEmbed(self.embed_dim, self.patch, self.dtype, name="patch_embed")(image)
    if mask_ratio:
      token_mask = jax.random.uniform(self.make_rng("tokens"), patches.shape[:-1]) < mask_ratio
    x = self.with_positions(self._hide(patches, token_mask), grid)
    adapter = self.adapter if adapted else None
    with adapter.applied() if isinstance(adapter, LoRA) else contextlib.nullcontext():
      taps = self._run_blocks(x, self.rotation(grid, train), adapter)
    # The norm has parameters even where no map needs it.
    norm = vit.norm(self.dtype, "norm", self.epsilon)
    normed = [norm(x) for x in taps]
    prefix = 1 + self.num_registers
    to_map = lambda x: x[:, prefix:].reshape(-1, *grid, self.embed_dim)
    return tuple(map(to_map, normed if self.tap_norm else taps))

  def token_grid(self, height: int, width: int) -> Size:
    """Returns the rows and columns of tokens of an image of this size, in pixels.

    Raises:
      ValueError: The image is smaller than a patch.
    """
    raise NotImplementedError

  def fit(self, image: jax.Array, grid: Size) -> jax.Array:
    """Resizes the image to the pixels of a grid of tokens."""
    return resize.bilinear(image, (grid[0] * self.patch, grid[1] * self.patch))

  def with_positions(self, patches: jax.Array, grid: Size) -> jax.Array:
    """Puts cls and registers before the patches [B, h, w, D]: [B, 1 + num_registers + h * w, D]."""
    raise NotImplementedError

  def rotation(self, grid: Size, train: bool) -> rotary.Rotation | None:
    """Returns by what the queries and keys of patches are rotated, if they are."""
    del grid, train
    return None

  @property
  def epsilon(self) -> float:
    """Epsilon of the norms."""
    return vit.EPSILON

  def block(self, name: str) -> vit.Block:
    """Makes a block."""
    return vit.Block(self.num_heads, dtype=self.dtype, name=name)

  def prefix_token(self, name: str, count: int, std: float) -> jax.Array:
    """The learned tokens [1, count, D] before the patches."""
    return self.param(name, nn.initializers.normal(std), (1, count, self.embed_dim))

  def _run_blocks(
    self, x: jax.Array, rotation: rotary.Rotation | None, adapter: LoRA | Rein | None
  ) -> list[jax.Array]:
    """Returns the tokens [B, N, D] after each tapped block."""
    taps = self.taps or (self.depth - 1,)
    if list(taps) != sorted({*taps} & {*range(self.depth)}):
      raise ValueError(
        f"taps = {tuple(taps)} must be ascending numbers of blocks, 0 to {self.depth - 1}"
      )
    blocks = [self.block(f"blocks_{i}") for i in range(self.depth)]
    call, per_block = lambda block, x, _: block(x, rotation), [0.0] * self.depth
    if isinstance(adapter, Rein):
      reins = rein_lib.Reins(adapter, self.depth, self.embed_dim, self.patch, name="reins")
      shared, prefix = reins(self.dtype), 1 + self.num_registers
      per_block = shared.tokens
      call = lambda block, x, tokens: rein_lib.refine(
        block(x, rotation), tokens, shared, adapter, prefix
      )
    outputs = []
    # Blocks behind the last tap have parameters; XLA leaves out what they compute.
    for start, end in itertools.pairwise((0, *(tap + 1 for tap in taps), self.depth)):
      row = slice(start, end)
      options = {"scan": block_stack.scans(self.scan_blocks), "remat": self.remat}
      x = block_stack.run(self, blocks[row], x, call, per_block[row], **options)
      outputs.append(x)
    return outputs[: len(taps)]

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
