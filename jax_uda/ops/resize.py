"""Resizing that agrees with PyTorch: bilinear, nearest and bicubic, none of them antialiased.

An axis is resized by one product with a small constant matrix [out, in]. Products run well on every
accelerator and, unlike gathers, have deterministic gradients. `jax.image.resize` differs in its
defaults: it antialiases when shrinking, takes pixel centres for `nearest`, and a = -0.5 for `cubic`.
Golden: `base/resize`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

Size = tuple[int, int]  # (height, width)
CUBIC_A = -0.75


def size_of(image: jax.Array | np.ndarray) -> Size:
  """(height, width) of an image, map or label [B, H, W, ...]."""
  height, width = image.shape[1:3]
  return height, width


def bilinear(x: jax.Array, size: Size, align_corners: bool = False) -> jax.Array:
  """Interpolates x [..., H, W, D] linearly to `size` = (height, width), with clamped edges.

  Pixel centres lie at half-integers. With `align_corners` the centres of the corner pixels coincide
  instead. An unchanged size returns `x` itself. The dtype must be a float and is kept.

  Raises:
    ValueError: The shape, dtype or size does not fit.
  """
  return _resize(x, size, lambda n, m: linear_matrix(n, m, align_corners))


def linear_matrix(length: int, target: int, align_corners: bool = False) -> np.ndarray:
  """The matrix [target, length] float64 by which `bilinear` resizes an axis."""
  return _matrix(_coordinates(length, target, align_corners), length, _linear)


def bicubic(x: jax.Array, size: Size, scale_offset: float = 0.0) -> jax.Array:
  """Interpolates x [..., H, W, D] to `size` by cubic convolution (a = -0.75), with clamped edges.

  Pixel centres lie at half-integers. The ratio of the grids is (size + `scale_offset`) / (H, W):
  DINOv2 resizes its position embedding with 0.1, which shifts even an axis whose length stays.
  Golden: `base/dino_pos_embed`.

  Raises:
    ValueError: The shape, dtype or size does not fit.
  """
  grid = lambda n, m: _matrix(_coordinates(n, m, False, scale_offset), n, _cubic)
  return _resize(x, size, grid, skip_equal=scale_offset == 0)


def nearest(x: jax.Array, size: Size) -> jax.Array:
  """Picks pixel floor(i * in / out) of x [..., H, W, D] for output pixel i; any dtype.

  Raises:
    ValueError: The shape or size does not fit.
  """
  _check(x, size)
  for axis, out in zip((-3, -2), size, strict=True):
    if x.shape[axis] != out:
      x = jnp.take(x, np.arange(out) * x.shape[axis] // out, axis=axis)
  return x


def _check(x: jax.Array, size: Size) -> None:
  if x.ndim < 3 or len(size) != 2 or min(size) < 1:
    raise ValueError(
      f"cannot resize shape {x.shape} to {size}: give x [..., H, W, D] and size (height, width)"
    )


def _resize(x: jax.Array, size: Size, matrix: Callable, *, skip_equal: bool = True) -> jax.Array:
  """Applies `matrix(in, out)` [out, in] along the height and the width of x."""
  _check(x, size)
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f"cannot interpolate {x.dtype} values: convert to float, or use nearest")
  operands, subscripts = [x], ["...hwd"]
  out = {"h": "h", "w": "w"}
  for letter, length, target in zip("hw", x.shape[-3:-1], size, strict=True):
    if length != target or not skip_equal:
      out[letter] = letter.upper()
      operands.append(jnp.asarray(matrix(length, target), x.dtype))
      subscripts.append(letter.upper() + letter)
  if len(operands) == 1:
    return x
  equation = f"{','.join(subscripts)}->...{out['h']}{out['w']}d"
  return jnp.einsum(equation, *operands, precision="highest")


def _coordinates(
  length: int, target: int, align_corners: bool, scale_offset: float = 0.0
) -> np.ndarray:
  """The position [target] of each output pixel on the input grid, in input pixels."""
  index = np.arange(target)
  if align_corners:
    return index * (length - 1) / max(target - 1, 1)
  return (index + 0.5) * length / (target + scale_offset) - 0.5


def _matrix(source: np.ndarray, length: int, kernel: Callable) -> np.ndarray:
  """The matrix [len(source), length] of a kernel of half-width 2; taps outside fall on the edge."""
  matrix = np.zeros((len(source), length))
  first = np.floor(source).astype(int)
  for tap in first + np.arange(-1, 3)[:, None]:  # [len(source)]
    np.add.at(
      matrix, (np.arange(len(source)), np.clip(tap, 0, length - 1)), kernel(np.abs(source - tap))
    )
  return matrix


def _linear(distance: np.ndarray) -> np.ndarray:
  return np.maximum(1 - distance, 0)


def _cubic(distance: np.ndarray) -> np.ndarray:
  a, d = CUBIC_A, distance
  near = ((a + 2) * d - (a + 3)) * d * d + 1
  far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
  return np.where(d <= 1, near, np.where(d < 2, far, 0))
