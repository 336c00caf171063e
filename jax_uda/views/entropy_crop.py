"""The crop where a prediction is least certain (CLUDA's second half of training).

The reference keeps its running best as a view of the entropy it is still scoring, and so overwrites
it; here every window is scored on the entropy itself. Golden: `cluda/entropy_crop`.
"""

import jax
import jax.numpy as jnp
import numpy as np


def entropy_boxes(
  logits: jax.Array,
  image_size: tuple[int, int],
  *,
  crop_size: tuple[int, int] = (512, 512),
  stride: tuple[int, int] = (256, 256),
) -> jax.Array:
  """Finds the window of largest mean entropy of each image; the first one, row by row, on ties.

  Args:
    logits: [B,h,w,C], any float dtype; constant.
    image_size: (height, width) of the image, in whose pixels the windows are.
    crop_size: (height, width) of a window.
    stride: Distance (down, right) of the windows, which start at the top left.

  Returns:
    [B, 4] int32 (y1, y2, x1, x2), ends exclusive.

  Raises:
    ValueError: A shape, dtype or size does not fit.

  >>> import jax.numpy as jnp
  >>> logits = jnp.zeros((1, 4, 4, 2)).at[:, :, :2, 0].set(9.0)  # certain on the left
  >>> entropy_boxes(logits, (64, 64), crop_size=(32, 32), stride=(16, 16)).tolist()
  [[0, 32, 32, 64]]
  """
  means = window_means(entropy_map(logits), image_size, crop_size=crop_size, stride=stride)
  tops, lefts = (_offsets(*axis) for axis in zip(image_size, crop_size, stride, strict=True))
  best = jnp.argmax(means, 1)
  y, x = jnp.asarray(tops)[best // len(lefts)], jnp.asarray(lefts)[best % len(lefts)]
  return jnp.stack([y, y + crop_size[0], x, x + crop_size[1]], 1).astype(jnp.int32)


def entropy_map(logits: jax.Array) -> jax.Array:
  """[B,h,w] float32 of logits [B,h,w,C]: `-sum_c p_c log p_c / (C log C)`; no gradient.

  A probability that underflows to 0 counts as 1e-8.
  """
  if logits.ndim != 4 or not jnp.issubdtype(logits.dtype, jnp.floating) or logits.shape[-1] < 2:
    raise ValueError(
      f"logits has shape {logits.shape} and dtype {logits.dtype}; expected floats [B,h,w,C], C > 1"
    )
  p = jax.nn.softmax(jax.lax.stop_gradient(logits).astype(jnp.float32))
  p = jnp.where(p == 0, 1e-8, p)
  num_classes = logits.shape[-1]
  return -jnp.sum(p * jnp.log(p), -1) / (num_classes * np.log(num_classes))


def window_means(
  values: jax.Array,
  image_size: tuple[int, int],
  *,
  crop_size: tuple[int, int],
  stride: tuple[int, int],
) -> jax.Array:
  """Means [B, windows] of values [B,h,w], upsampled to the image by nearest, row by row of windows.

  The upsampled map is not built: a window counts each value as often as it would cover its copies.

  Raises:
    ValueError: A shape or size does not fit.
  """
  sizes = (image_size, crop_size, stride)
  fits = all(0 < c <= i and s > 0 for i, c, s in zip(*sizes, strict=True))
  if not fits or values.ndim != 3:
    raise ValueError(
      f"values has shape {values.shape}, image_size = {image_size}, crop_size = {crop_size}, "
      f"stride = {stride}; expected [B,h,w] and crops within the image"
    )
  rows, row_share = _window_pixels(values.shape[1], *(pair[0] for pair in sizes))
  columns, column_share = _window_pixels(values.shape[2], *(pair[1] for pair in sizes))
  share = row_share[:, None, :, None] * column_share[None, :, None, :]  # [Y, X, m, n]
  # Gathered windows are summed all in the same order, so equal ones tie exactly; rows of a matrix
  # product might not.
  windows = values[:, rows[:, None, :, None], columns[None, :, None, :]]  # [B, Y, X, m, n]
  return jnp.sum(windows * jnp.asarray(share, values.dtype), (-2, -1)).reshape(len(values), -1)


def _offsets(image: int, crop: int, stride: int) -> np.ndarray:
  return np.arange(0, image - crop + 1, stride)


def _window_pixels(
  length: int, image: int, crop: int, stride: int
) -> tuple[np.ndarray, np.ndarray]:
  """The low-resolution pixels [K, m] that each window meets along an axis, and their share [K, m]."""
  source = (_offsets(image, crop, stride)[:, None] + np.arange(crop)) * length // image  # [K, crop]
  met = source[:, :1] + np.arange((source[:, -1] - source[:, 0]).max() + 1)
  share = (source[:, None] == met[:, :, None]).mean(-1)
  return np.minimum(met, length - 1), share
