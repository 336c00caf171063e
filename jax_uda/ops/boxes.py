"""The boxes (y1, y2, x1, x2) of HRDA's detail crops, the crops themselves and their places.

Boxes are int32, one for the whole batch, [4], or one per image, [B, 4]. They may be traced, so a
function whose result depends on a box's size takes that size too. Golden: `base/hrda_boxes`.
"""

import jax
import jax.numpy as jnp

from jax_uda.ops import windows
from jax_uda.ops.resize import Size
from jax_uda.ops.windows import Box


def half_overlapping(size: Size, window: Size) -> list[Box]:
  """The half-overlapping boxes that inference slides over an image of `size`, row by row."""
  stride = (max(window[0] // 2, 1), max(window[1] // 2, 1))
  return windows.boxes(size, window, stride)


def offsets(length: int, crop: int, divisor: int) -> range:
  """The first pixels that a training crop may have along an axis, all multiples of `divisor`.

  As in the reference, the last one that would fit is missing unless it is the only one.

  Args:
    length: The image's side in pixels.
    crop: The crop's side in pixels.
    divisor: A number of pixels.

  Raises:
    ValueError: The crop is larger than the image.
  """
  if crop > length:
    raise ValueError(
      f"HRDA's detail crop of {crop} pixels is larger than the training image's {length}: "
      "reduce the crop or enlarge the image"
    )
  return range(0, max((length - crop + 1) // divisor, 1) * divisor, divisor)


def draw(key: jax.Array, size: Size, crop: Size, divisor: int) -> jax.Array:
  """A random box [4] of size `crop` in an image of `size`, at multiples of `divisor`."""
  keys = jax.random.split(key)
  box = []
  for axis_key, length, side in zip(keys, size, crop, strict=True):
    choices = offsets(length, side, divisor)
    start = divisor * jax.random.randint(axis_key, (), 0, len(choices), jnp.int32)
    box += [start, start + side]
  return jnp.stack(box)


def crop(x: jax.Array, box: jax.Array, size: Size) -> jax.Array:
  """Cuts the box, whose size is `size`, out of x [B, H, W, …]: [B, *size, …]."""
  box = jnp.asarray(box, jnp.int32)
  if box.ndim == 2:
    return jax.vmap(lambda x, box: crop(x[None], box, size)[0])(x, box)
  x = jax.lax.dynamic_slice_in_dim(x, box[0], size[0], axis=1)
  return jax.lax.dynamic_slice_in_dim(x, box[2], size[1], axis=2)


def insert(x: jax.Array, box: jax.Array, size: Size) -> jax.Array:
  """Puts x [B, h, w, D] at its box into zeros [B, *size, D]; inverts `crop`."""
  box = jnp.asarray(box, jnp.int32)
  if box.ndim == 2:
    return jax.vmap(lambda x, box: insert(x[None], box, size)[0])(x, box)
  empty, zero = jnp.zeros((x.shape[0], *size, x.shape[-1]), x.dtype), jnp.zeros((), jnp.int32)
  return jax.lax.dynamic_update_slice(empty, x, (zero, box[0], box[2], zero))


def inside(box: jax.Array, size: Size) -> jax.Array:
  """Tells whether each pixel of a map of `size` lies in the box: bool [1 or B, *size]."""
  box = jnp.asarray(box, jnp.int32).reshape(-1, 4, 1)  # [1 or B, 4, 1]
  rows, columns = jnp.arange(size[0]), jnp.arange(size[1])
  in_rows = (rows >= box[:, 0]) & (rows < box[:, 1])
  in_columns = (columns >= box[:, 2]) & (columns < box[:, 3])
  return in_rows[:, :, None] & in_columns[:, None, :]
