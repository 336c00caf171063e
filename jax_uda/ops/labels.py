"""Labels at the resolution of a feature map, and which of them count.

A label is an integer class id; one outside 0..C-1 (255 = ignore) belongs to no class. Every function
takes maps [..., H, W] of them, or pixels [...] where no neighbourhood matters.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.ops import arrays, resize

IGNORE = 255
NUM_IDS = 255  # every id but 255 = ignore may be a class


def downscale_label(
  label: jax.Array, factor: int, num_classes: int, min_ratio: float, ignore: int = IGNORE
) -> jax.Array:
  """The majority label of each `factor` x `factor` cell; a tie goes to the lower class.

  Args:
    label: [..., H, W] integers; everything outside 0..C-1 counts as one more class, "ignored".
    factor: The side of a cell in pixels; rows and columns beyond the last whole cell are dropped.
    num_classes: C.
    min_ratio: The smallest share of the cell that the majority must hold.
    ignore: The value of a cell without such a majority, or whose majority is "ignored".

  Returns:
    [..., H // factor, W // factor] int32.

  Raises:
    ValueError: `label` is not [..., H, W] of integers, or `factor` is not within its sides.

  Source: SePiCo and DAFormer; golden `sepico/label_downscale`, `base/feature_distance`.

  >>> import jax.numpy as jnp
  >>> label = jnp.array([[[0, 0, 1, 1], [0, 2, 1, 255]]])
  >>> downscale_label(label, 2, num_classes=3, min_ratio=0.75).tolist()
  [[[0, 1]]]
  """
  check_map("label", label)
  height, width = label.shape[-2:]
  if not 1 <= factor <= min(height, width):
    raise ValueError(f"factor = {factor}; expected 1 to {min(height, width)} for {label.shape}")
  rows, columns = height // factor, width // factor
  label = label[..., : rows * factor, : columns * factor]
  cells = label.reshape(*label.shape[:-2], rows, factor, columns, factor)
  ids = jnp.where((cells >= 0) & (cells < num_classes), cells, num_classes)
  share = jnp.stack(
    [jnp.mean(ids == c, (-3, -1), dtype=jnp.float32) for c in range(num_classes + 1)], -1
  )
  winner = jnp.argmax(share, -1).astype(jnp.int32)
  keep = (jnp.max(share, -1) >= min_ratio) & (winner < num_classes)
  return jnp.where(keep, winner, ignore)


def image_classes(labels: jax.Array, num_classes: int) -> jax.Array:
  """Indicates the classes that an image holds: 1 for each of them, else 0.

  Args:
    labels: [..., H, W] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    num_classes: C.

  Returns:
    [..., C] float32; all 0 for an image without valid pixels.

  Raises:
    ValueError: `labels` is not [..., H, W] of integers.

  Source: CONFETI; golden `confeti/cam_head`.

  >>> import jax.numpy as jnp
  >>> image_classes(jnp.array([[[0, 0], [2, 255]]]), num_classes=3).tolist()
  [[1.0, 0.0, 1.0]]
  """
  check_map("labels", labels)
  held = labels.astype(jnp.int32)[..., None] == jnp.arange(num_classes)
  return jnp.any(held, axis=(-3, -2)).astype(jnp.float32)


def soft_label(labels: jax.Array, size: resize.Size, num_classes: int) -> jax.Array:
  """The share of each cell's area that each class holds.

  Cell i covers the rows floor(i H / h) to ceil((i + 1) H / h), as PyTorch's adaptive average pooling has
  it; columns alike. The shares of a cell add up to its labelled area, not to 1.

  Args:
    labels: [..., H, W] integers; a pixel outside 0..C-1 (255 = ignore) belongs to no class.
    size: (height, width) of the cells.
    num_classes: C.

  Returns:
    [..., h, w, C] float32.

  Raises:
    ValueError: `labels` is not [..., H, W] of integers, or `size` is not two numbers above 0.

  Source: CONFETII; golden `confetii/soft_contrast`.

  >>> import jax.numpy as jnp
  >>> soft_label(jnp.array([[0, 1, 1, 255]]), (1, 2), num_classes=2).tolist()
  [[[0.5, 0.5], [0.0, 0.5]]]
  """
  check_map("labels", labels)
  rows, columns = (
    _pooling_matrix(length, target) for length, target in zip(labels.shape[-2:], size, strict=True)
  )
  return class_masses(labels, rows, columns, num_classes)


def class_masses(
  labels: jax.Array, rows: np.ndarray, columns: np.ndarray, num_classes: int
) -> jax.Array:
  """Resizes the one-hot map of labels [..., H, W] by matrices [h, H] and [w, W]: [..., h, w, C] float32.

  It goes class by class: the one-hot map of a whole batch is never in memory.
  """
  down, across = jnp.asarray(rows, jnp.float32), jnp.asarray(columns, jnp.float32)

  def masses(c: jax.Array) -> jax.Array:
    members = (labels == c).astype(jnp.float32)
    return jnp.einsum("...hw,ih,jw->...ij", members, down, across, precision="highest")

  return jnp.moveaxis(jax.lax.map(masses, jnp.arange(num_classes, dtype=jnp.int32)), 0, -1)


def _pooling_matrix(length: int, target: int) -> np.ndarray:
  """The matrix [target, length] that averages the cells of an axis."""
  if target < 1:
    raise ValueError(f"cannot average labels of {length} pixels over {target} cells")
  index, matrix = np.arange(target), np.zeros((target, length))
  first, end = index * length // target, -(-(index + 1) * length // target)
  for row, start, stop in zip(matrix, first, end, strict=True):
    row[start:stop] = 1 / (stop - start)
  return matrix


def ignore_unweighted(label: jax.Array, weight: jax.Array, ignore: int = IGNORE) -> jax.Array:
  """The label [...], but `ignore` where the weight [...] is 0: the labels of a contrastive loss."""
  return jnp.where(weight != 0, label, ignore)


def nearest_label(label: jax.Array, size: resize.Size) -> jax.Array:
  """Picks label pixel floor(i * in / out) for cell i, as PyTorch's `nearest` does.

  Args:
    label: [..., H, W] integers.
    size: (height, width) of the feature map.

  Returns:
    [..., h, w] of the same dtype.

  Raises:
    ValueError: `label` is not [..., H, W] of integers, or `size` is not two numbers above 0.

  Source: golden `spcl/label_nearest`.

  >>> import jax.numpy as jnp
  >>> nearest_label(jnp.arange(5)[None, None], (1, 2)).tolist()
  [[[0, 2]]]
  """
  check_map("label", label)
  return resize.nearest(label[..., None], size)[..., 0]


def correct_label(label: jax.Array, logits: jax.Array, ignore: int = IGNORE) -> jax.Array:
  """The label where the network's own prediction agrees with it, else `ignore`.

  Args:
    label: [...] integers; a pixel outside 0..C-1 stays ignored.
    logits: [..., C] at the label's resolution, constant. The lowest class wins a tie.
    ignore: The value of the pixels left out.

  Returns:
    [...] int32.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: SPCL (Xie et al., 2021); golden `spcl/proto_init`, `spcl/proto_update_seq`.

  >>> import jax.numpy as jnp
  >>> logits = jnp.array([[5.0, 1.0], [5.0, 1.0], [1.0, 5.0]])
  >>> correct_label(jnp.array([0, 1, 255]), logits).tolist()
  [0, 255, 255]
  """
  arrays.check_float("logits", logits, min_ndim=2)
  arrays.check_labels("label", label, logits.shape[:-1], of="logits")
  return jnp.where(jnp.argmax(logits, -1) == label, label.astype(jnp.int32), ignore)


def check_map(name: str, labels: jax.Array) -> None:
  """Raises a ValueError unless `labels` are integers [..., H, W]."""
  if labels.ndim < 2 or not jnp.issubdtype(labels.dtype, jnp.integer):
    raise ValueError(f"{name} is {labels.dtype}{labels.shape}; expected integers [..., H, W]")
