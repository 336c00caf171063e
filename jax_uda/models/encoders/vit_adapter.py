"""DINOv2 with ViT-Adapter (Chen et al., 2023), the encoder of VFM-UDA++: four maps at strides 4 to 32.

A convolutional branch and the ViT exchange what they know four times, by deformable attention. The ViT has
neither registers nor mask token nor a last norm. No published number of VFM-UDA++ starts from a random
adapter. Golden: `vfm_plus/vit_adapter_tiny`.
"""

import itertools
import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.encoders.dinov2 import SIZES as DINOV2_SIZES
from jax_uda.models.encoders.dinov2 import DINOv2
from jax_uda.models.layers import block_stack, vit
from jax_uda.models.layers import vit_adapter as adapter_lib
from jax_uda.models.layers.up_conv import UpConv
from jax_uda.models.protocols import Features, Options, Size
from jax_uda.ops import block_mask, resize

INTERACTIONS = 4
STRIDES = (4, 8, 16, 32)  # of the resized image


class ViTAdapter(DINOv2):
  """The encoder. Attributes of `DINOv2` that name taps, registers or adapters have no use here.

  Attributes:
    deform_heads: Heads of the deformable attentions; 0: one per 64 channels.
    spatial_width: Channels of the convolutional branch's stem.
  """

  tiny: ClassVar[Options] = {
    **DINOv2.tiny,
    "patch": 16,
    "enlarge": 1.0,
    "deform_heads": 2,
    "spatial_width": 4,
  }

  random_adapter_note: ClassVar[str] = (
    "the ViT-Adapter starts at random, and no published number of VFM-UDA++ does: give "
    "config.init_weights the adapter pre-training of the same size, which holds the ViT, too."
  )

  deform_heads: int = 0
  spatial_width: int = 64

  @nn.compact
  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    mask_ratio: float = 0.0,
    mask_block: int = 64,
    mask_uniform: jax.Array | None = None,
  ) -> Features:
    """Returns four maps [B, h_i, w_i, D], a quarter of the resized image's sides and so on.

    Args:
      image: [B, H, W, 3], standardised.
      train: Ignored: the network has neither dropout nor drop path.
      use_running_average: Whether BatchNorm uses its running statistics.
      mask_ratio: Share of the resized image's square blocks that become 0, in [0, 1). VFM-UDA++ hides 0.7.
      mask_block: Side of a block in pixels of the resized image.
      mask_uniform: [B, r, c] numbers in [0, 1), one per block: those up to `mask_ratio` are hidden. If not
        given, they are drawn from the rng stream `tokens`.

    Raises:
      ValueError: Options ask for taps, registers or an adapter.
    """
    del train
    if self.taps or self.num_registers or self.adapter:
      raise ValueError("an encoder with ViT-Adapter takes no taps, registers or further adapters")
    grid = self.token_grid(*image.shape[1:3])
    image = self.fit(image, grid).astype(self.dtype)
    if mask_ratio:
      size = resize.size_of(image)
      if mask_uniform is None:
        key = self.make_rng("tokens")
        mask_uniform = block_mask.draw(key, len(image), size, mask_block)
      kept = block_mask.keep(mask_uniform, size, ratio=mask_ratio)
      image = jnp.where(kept[..., None], image, 0)
    spm = adapter_lib.SpatialPrior(self.embed_dim, self.spatial_width, self.dtype, name="spm")
    c1, *maps = spm(image, use_running_average=use_running_average)
    sizes = [resize.size_of(x) for x in maps]
    levels = self.param("level_embed", nn.initializers.normal(1.0), (len(maps), self.embed_dim))
    levels = levels.astype(self.dtype)
    c = adapter_lib.to_tokens([x + level for x, level in zip(maps, levels, strict=True)])
    patches = vit.PatchEmbed(self.embed_dim, self.patch, self.dtype, name="patch_embed")(image)
    values, c = self._interact(self.with_positions(patches, grid), c, grid, sizes)
    c2, *coarse = adapter_lib.to_maps(c, sizes)
    up = UpConv(
      self.embed_dim,
      use_bias=True,
      kernel_init=nn.initializers.variance_scaling(2.0, "fan_in", "normal"),
      dtype=self.dtype,
      name="up",
    )
    outputs = []
    for level, (x, value) in enumerate(zip([up(c2) + c1, c2, *coarse], values, strict=True), 1):
      x = x + resize.bilinear(value, resize.size_of(x))
      norm = adapter_lib.batch_norm(self.dtype, f"map_norm{level}")
      outputs.append(norm(x, use_running_average=use_running_average))
    return tuple(outputs)

  @property
  def multiple(self) -> int:
    """Sides of the resized image are multiples of so many pixels: of patches and of the largest stride."""
    return math.lcm(self.patch, STRIDES[-1])

  def token_grid(self, height: int, width: int) -> Size:
    """Returns the rows and columns of tokens of an image of this size, in pixels.

    The resized image has the sides nearest to `enlarge` times the image's.
    """
    nearest = lambda side: max(int(self.enlarge * side / self.multiple + 0.5), 1)
    rows, columns = (nearest(side) * self.multiple // self.patch for side in (height, width))
    return rows, columns

  def _interact(
    self, x: jax.Array, c: jax.Array, grid: Size, sizes: list[Size]
  ) -> tuple[list[jax.Array], jax.Array]:
    """Runs the ViT and the exchange.

    Args:
      x: cls and patches, [B, 1 + h w, D].
      c: The branch's tokens, [B, N, D].
      grid: Rows and columns of patches.
      sizes: Those of the branch's maps.

    Returns:
      The patches after each interaction as maps [B, h, w, D], and the branch's tokens.
    """
    blocks = [self.block(f"blocks_{i}") for i in range(self.depth)]
    ends = [self.depth * i // INTERACTIONS for i in range(INTERACTIONS + 1)]
    cls, x = x[:, :1], x[:, 1:]
    maps = []
    for number, (start, end) in enumerate(itertools.pairwise(ends)):
      interaction = Interaction(
        self.deform_heads or max(self.embed_dim // 64, 1),
        2 if number == INTERACTIONS - 1 else 0,
        self.remat,
        self.dtype,
        name=f"interactions_{number}",
      )
      row = blocks[start:end]

      def run(x: jax.Array, row=row) -> jax.Array:
        call = lambda block, x, _: block(x, None)
        options = {"scan": self.scan_blocks, "remat": self.remat}
        return block_stack.run(self, row, x, call, [0.0] * len(row), **options)

      x = interaction.inject(x, c, grid, sizes)
      x = run(jnp.concatenate([cls, x], 1))
      cls, x = x[:, :1], x[:, 1:]
      c = interaction.extract(c, x, grid, sizes)
      maps.append(x.reshape(-1, *grid, self.embed_dim))
    return maps, c


class Interaction(nn.Module):
  """One exchange: an injector before a group of blocks, extractors behind it.

  Attributes:
    num_heads: Heads of the deformable attentions.
    num_extra: Further extractors.
    remat: Whether the backward pass computes injector and extractors again to save memory.
    dtype: Compute dtype; parameters are float32.
  """

  num_heads: int
  num_extra: int = 0
  remat: bool = False
  dtype: DTypeLike = jnp.float32

  def setup(self):
    """Makes the injector and the extractors."""
    options = {"num_heads": self.num_heads, "dtype": self.dtype}
    wrap = lambda module: nn.remat(module, static_argnums=(3, 4)) if self.remat else module
    extractor = wrap(adapter_lib.Extractor)
    self.injector = wrap(adapter_lib.Injector)(**options)
    self.extractor = extractor(**options)
    self.extra_extractors = [extractor(**options) for _ in range(self.num_extra)]

  def inject(self, x: jax.Array, c: jax.Array, grid: Size, sizes: list[Size]) -> jax.Array:
    """Returns the patch tokens [B, h w, D] with what the branch's tokens [B, N, D] hold."""
    return self.injector(x, c, grid, tuple(sizes))

  def extract(self, c: jax.Array, x: jax.Array, grid: Size, sizes: list[Size]) -> jax.Array:
    """Returns the branch's tokens [B, N, D] with what the patch tokens [B, h w, D] hold."""
    for extractor in (self.extractor, *self.extra_extractors):
      c = extractor(c, x, grid, tuple(sizes))
    return c


SIZES: dict[str, Options] = {
  f"{name}_adapter": DINOV2_SIZES[name]
  for name in ("dinov2_vits14", "dinov2_vitb14", "dinov2_vitl14")
}
