"""DINOv3's Vision Transformer (Siméoni et al., 2025), which EUPE and LingBot-Vision share.

Rotary positions, patches of 16 pixels, four registers, keys without a bias. Goldens: `base/dino3_tiny`,
`base/dino3_tiny_swiglu`, `base/dino3_rope`.
"""

from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from jax_uda.models.encoders.plain_vit import PlainViT
from jax_uda.models.layers import rotary, vit
from jax_uda.models.protocols import Options, Size
from jax_uda.ops import resize

EPSILON = 1e-5  # of all norms
SCALE_START = 1e-5  # of the layer scales
STD = 0.02  # of the tokens before the patches, at the start


class DINOv3(PlainViT):
  """The encoder; its maps have a token per patch.

  Attributes:
    mlp_ratio: Hidden channels of the feed-forward net, as a multiple of D.
    gated: Whether the feed-forward net is a `vit.SwiGLU`.
    size: What is done with an image whose sides are no multiples of the patch: "resize" enlarges it to
      the next ones, so that no pixel is lost; "crop" leaves out the last rows and columns, as the
      official code does.
    rope_rescale: Largest factor by which a pass in training scales all coordinates, drawn once per pass
      from the rng stream `positions`; 1 never. The official models were trained with 2.
  """

  tiny: ClassVar[Options] = {**PlainViT.tiny}

  patch: int = 16
  num_registers: int = 4
  mlp_ratio: float = 4
  gated: bool = False
  size: Literal["resize", "crop"] = "resize"
  rope_rescale: float = 1.0

  def token_grid(self, height: int, width: int) -> Size:
    """Returns the rows and columns of tokens of an image of this size, in pixels.

    Raises:
      ValueError: `size` is unknown, or the image is smaller than a patch and would be cropped.
    """
    if self.size not in ("resize", "crop"):
      raise ValueError(f"size = {self.size!r} must be 'resize' or 'crop'")
    if self.size == "resize":
      return -(-height // self.patch), -(-width // self.patch)
    if min(height, width) < self.patch:
      raise ValueError(
        f"an image of {height}x{width} holds no patch of {self.patch}x{self.patch}: give a larger "
        "image, or size = 'resize'"
      )
    return height // self.patch, width // self.patch

  def fit(self, image: jax.Array, grid: Size) -> jax.Array:
    """Resizes or crops the image to the pixels of a grid of tokens."""
    height, width = grid[0] * self.patch, grid[1] * self.patch
    if self.size == "crop":
      return image[:, :height, :width]
    return resize.bilinear(image, (height, width))

  def with_positions(self, patches: jax.Array, grid: Size) -> jax.Array:
    """Puts cls and registers before the patches [B, h, w, D]: [B, 1 + num_registers + h * w, D]."""
    del grid  # the attention has the positions
    tokens = [
      self.prefix_token("cls_token", 1, STD),
      self.prefix_token("storage_tokens", self.num_registers, STD),
    ]
    prefix = jnp.concatenate(tokens, 1).astype(self.dtype)
    prefix = jnp.broadcast_to(prefix, (patches.shape[0], *prefix.shape[1:]))
    return jnp.concatenate([prefix, patches.reshape(patches.shape[0], -1, self.embed_dim)], 1)

  def rotation(self, grid: Size, train: bool) -> rotary.Rotation:
    """Returns the rotation of the grid's tokens, the same for all blocks and heads."""
    rescale = 1.0
    if train and self.rope_rescale != 1:
      rescale = rotary.draw_rescale(self.make_rng("positions"), self.rope_rescale)
    return rotary.rotation(grid, self.embed_dim // self.num_heads, rescale)

  @property
  def epsilon(self) -> float:
    """Epsilon of the norms."""
    return EPSILON

  def block(self, name: str) -> vit.Block:
    """Makes a block."""
    return vit.Block(
      self.num_heads,
      mlp_ratio=self.mlp_ratio,
      gated=self.gated,
      key_bias=False,
      scale_start=SCALE_START,
      epsilon=EPSILON,
      dtype=self.dtype,
      name=name,
    )


_SMALL: Options = {"embed_dim": 384, "depth": 12, "num_heads": 6}
_BASE: Options = {"embed_dim": 768, "depth": 12, "num_heads": 12}
_LARGE: Options = {"embed_dim": 1024, "depth": 24, "num_heads": 16}

SIZES: dict[str, Options] = {
  "dinov3_vits16": _SMALL,
  "dinov3_vits16plus": {**_SMALL, "mlp_ratio": 6, "gated": True},
  "dinov3_vitb16": _BASE,
  "dinov3_vitl16": _LARGE,
  # The weights that were trained on satellite images (SAT-493M) have statistics of their own.
  "dinov3_vitl16_sat": {
    **_LARGE,
    "image_mean": (0.430, 0.411, 0.296),
    "image_std": (0.213, 0.156, 0.143),
  },
  "eupe_vitt16": {"embed_dim": 192, "depth": 12, "num_heads": 3},
  "lingbot_vits16": _SMALL,
  "lingbot_vitb16": _BASE,
  "lingbot_vitl16": _LARGE,
}
