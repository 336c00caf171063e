"""What every kernel does with its arguments: check, flatten to pixels, mask, average, normalise.

Maps and lists are the same thing here: embeddings [..., A] with labels [...] are N pixels, whatever
the leading axes are. A label outside 0..C-1 (255 = ignore) is a pixel of weight 0.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Pixels(NamedTuple):
  """N pixels whose masked entries are safe to index with and to take logarithms of."""

  embeddings: jax.Array  # [N, A] float32
  labels: jax.Array  # [N] int32 in 0..C-1; 0 where ignored
  weights: jax.Array  # [N] float32, constant; 0 where ignored


def pixels(
  embeddings: jax.Array, labels: jax.Array, weights: jax.Array | None, num_classes: int
) -> Pixels:
  """Flattens and masks embeddings [..., A], labels [...] and weights [...] (None: all 1).

  Raises:
    ValueError: A shape or dtype does not fit.
  """
  check_float("embeddings", embeddings, min_ndim=2)
  check_labels("labels", labels, embeddings.shape[:-1], of="embeddings")
  labels = labels.reshape(-1)
  valid = (labels >= 0) & (labels < num_classes)
  weight = valid.astype(jnp.float32)
  if weights is not None:
    check_shape("weights", weights, embeddings.shape[:-1], of="embeddings")
    weight = jnp.where(valid, weights.reshape(-1).astype(jnp.float32), 0.0)
  return Pixels(
    embeddings.reshape(-1, embeddings.shape[-1]).astype(jnp.float32),
    jnp.where(valid, labels, 0).astype(jnp.int32),
    jax.lax.stop_gradient(weight),
  )


def one_hot(labels: jax.Array, weights: jax.Array, num_classes: int) -> jax.Array:
  """[N, C] float32: each pixel's weight in the column of its label."""
  return jax.nn.one_hot(labels, num_classes, dtype=jnp.float32) * weights[:, None]


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
  """sum(weights * values) / sum(weights); 0, with gradient 0, when the weights sum to 0."""
  total = jnp.sum(weights)
  return jnp.sum(jnp.where(weights > 0, weights * values, 0.0)) / jnp.where(total > 0, total, 1.0)


def l2_normalize(x: jax.Array) -> jax.Array:
  """x [..., A] / |x| in float32; a zero vector stays zero and gets gradient 0.

  >>> import jax.numpy as jnp
  >>> l2_normalize(jnp.array([[0.0, 2.0], [0.0, 0.0]])).tolist()
  [[0.0, 1.0], [0.0, 0.0]]
  """
  x = x.astype(jnp.float32)
  squared = jnp.sum(x * x, -1, keepdims=True)
  positive = squared > 0  # the root has no gradient at 0: keep it away from the root altogether
  return x * jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, squared, 1.0)), 0.0)


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
  """a @ b in float32 at the highest precision: at temperature 100 logits differ by 0.01 only."""
  return jnp.matmul(a.astype(jnp.float32), b.astype(jnp.float32), precision="highest")


def check_shape(name: str, array: jax.Array, expected: tuple[int, ...], of: str) -> None:
  """Raises a ValueError unless `array` has the `expected` shape, which `of` asks for."""
  if tuple(array.shape) != tuple(expected):
    raise ValueError(f"{name} has shape {array.shape}, but {of} ask for {tuple(expected)}")


def check_float(name: str, array: jax.Array, min_ndim: int = 1) -> None:
  """Raises a ValueError unless `array` holds floats and has at least `min_ndim` axes."""
  if not jnp.issubdtype(array.dtype, jnp.floating):
    raise ValueError(f"{name} has dtype {array.dtype}; expected a float dtype")
  if array.ndim < min_ndim:
    raise ValueError(f"{name} has shape {array.shape}; expected at least {min_ndim} axes")


def check_labels(name: str, labels: jax.Array, expected: tuple[int, ...], of: str) -> None:
  """Raises a ValueError unless `labels` are integers of the `expected` shape."""
  check_shape(name, labels, expected, of)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise ValueError(f"{name} has dtype {labels.dtype}; expected integer class ids")


def check_rows(name: str, array: jax.Array, width: int, of: str = "embeddings") -> None:
  """Raises a ValueError unless `array` is a float table [rows, width]."""
  check_float(name, array)
  if array.ndim != 2 or array.shape[-1] != width:
    raise ValueError(f"{name} has shape {array.shape}, but {of} ask for [rows, {width}]")


def check_positive(name: str, value: float) -> None:
  """Raises a ValueError for a number that is not above 0 (a traced value cannot be checked)."""
  if isinstance(value, (int, float)) and not value > 0:
    raise ValueError(f"{name} = {value}; expected a number above 0")
