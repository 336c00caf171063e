"""Labels at the resolution of a feature map."""

import jax
import jax.numpy as jnp


def downscale_label(
  label: jax.Array, factor: int, num_classes: int, min_ratio: float, ignore: int = 255
) -> jax.Array:
  """The majority label of each `factor` x `factor` cell.

  Args:
    label: [B,H,W] integers; everything outside 0..C-1 counts as one more class, "ignored".
    factor: One cell = `factor` pixels; rows and columns beyond the last whole cell are dropped.
    num_classes: C.
    min_ratio: Smallest share of the cell that the majority must hold.
    ignore: Value of a cell without such a majority, or whose majority is "ignored".

  Returns:
    [B, H // factor, W // factor] int32.

  Raises:
    ValueError: `label` is no [B,H,W] of integers, or `factor` is not within its sides.

  Source: SePiCo and DAFormer; golden `sepico/label_downscale`, `base/feature_distance`.

  >>> import jax.numpy as jnp
  >>> label = jnp.array([[[0, 0, 1, 1], [0, 2, 1, 255]]])
  >>> downscale_label(label, 2, num_classes=3, min_ratio=0.75).tolist()
  [[[0, 1]]]
  """
  if label.ndim != 3 or not jnp.issubdtype(label.dtype, jnp.integer):
    raise ValueError(f"label is {label.dtype}{label.shape}; expected integers [B,H,W]")
  batch, height, width = label.shape
  if not 1 <= factor <= min(height, width):
    raise ValueError(f"factor = {factor}; expected 1 to {min(height, width)} for {label.shape}")
  rows, columns = height // factor, width // factor
  label = label[:, : rows * factor, : columns * factor]
  cells = label.reshape(batch, rows, factor, columns, factor)
  ids = jnp.where((cells >= 0) & (cells < num_classes), cells, num_classes)
  share = jnp.stack(
    [jnp.mean(ids == c, (2, 4), dtype=jnp.float32) for c in range(num_classes + 1)], -1
  )
  winner = jnp.argmax(share, -1).astype(jnp.int32)
  keep = (jnp.max(share, -1) >= min_ratio) & (winner < num_classes)
  return jnp.where(keep, winner, ignore)
