"""Random square blocks of an image: which of them stay. Goldens: `base/mic_block_mask`, `vfm_plus/block_mask`."""

import jax

from jax_uda.ops import resize


def draw(key: jax.Array, batch_size: int, size: tuple[int, int], block: int) -> jax.Array:
  """[B, h, w] uniform numbers, one per patch: h = round(H / block), but at least 1.

  Args:
    key: Random key.
    batch_size: Number of images, B.
    size: (height, width) of the images in pixels.
    block: Side of a patch in pixels: 64 for crops of 1024, 32 for crops of 512.

  Raises:
    ValueError: `block` is below 1.
  """
  if block < 1:
    raise ValueError(f"block = {block}; expected the side of a patch in pixels, 1 or more")
  rows, columns = (max(round(side / block), 1) for side in size)  # round half to even
  return jax.random.uniform(key, (batch_size, rows, columns))


def keep(uniform: jax.Array, size: tuple[int, int], *, ratio: float) -> jax.Array:
  """Tells which pixels stay: bool [B, H, W], True in patches [B, h, w] whose number exceeds `ratio`.

  Args:
    uniform: [B, h, w] in [0, 1); where h does not divide H, patches differ by a pixel.
    size: (height, width) of the image, (H, W).
    ratio: Expected fraction of patches that are masked.
  """
  return resize.nearest((uniform > ratio)[..., None], size)[..., 0]
