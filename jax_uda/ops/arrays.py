"""What every kernel does with its arguments: check, flatten to pixels, mask, reduce, normalise.

Maps and lists are the same thing here: embeddings [..., A] with labels [...] are N pixels, whatever
the leading axes are. A label outside 0..C-1 (255 = ignore) is a pixel of weight 0.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

Reduction = Literal["mean", "none"]

# Vectors shorter than this share of what they were computed from hold nothing but rounding noise.
NOISE = 128 * float(jnp.finfo(jnp.float32).eps)


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
  """The weight of each pixel in the column of its label: [N, C] float32."""
  return jax.nn.one_hot(labels, num_classes, dtype=jnp.float32) * weights[:, None]


def constant_weights(weights: jax.Array | None, shape: tuple[int, ...], of: str) -> jax.Array:
  """The weights as a float32 constant of the `shape` that `of` asks for; None means all 1.

  Raises:
    ValueError: The weights have another shape.
  """
  if weights is None:
    return jnp.ones(shape, jnp.float32)
  check_shape("weights", weights, shape, of=of)
  return jax.lax.stop_gradient(weights.astype(jnp.float32))


def pick(table: jax.Array, index: jax.Array) -> jax.Array:
  """The entry `index` [...] of each row of a table [..., C]."""
  return jnp.take_along_axis(table, index[..., None], -1)[..., 0]


def reduce(
  values: jax.Array,
  weights: jax.Array,
  reduction: Reduction,
  shape: tuple[int, ...] | None = None,
) -> jax.Array:
  """The weighted mean of values [...] for "mean", or the masked values for "none".

  Without reduction the values are not multiplied by their weights: those of weight 0 become 0, and
  the mean is `sum(weights * values) / sum(weights)`.

  Args:
    values: [...] float32.
    weights: [...] float32, constant.
    reduction: "mean" or "none".
    shape: The shape of the values that are not reduced; None leaves it.
  """
  if reduction == "mean":
    return weighted_mean(values, weights)
  masked = jnp.where(weights > 0, values, 0.0)
  return masked if shape is None else masked.reshape(shape)


def weighted_mean(values: jax.Array, weights: jax.Array) -> jax.Array:
  """`sum(weights * values) / sum(weights)`; 0, with gradient 0, when the weights sum to 0."""
  total = jnp.sum(weights)
  return jnp.sum(jnp.where(weights > 0, weights * values, 0.0)) / jnp.where(total > 0, total, 1.0)


def rounding(size: jax.Array, dtype: DTypeLike = jnp.float32) -> jax.Array:
  """The length below which a vector computed from numbers of this `size` is only rounding noise.

  Two passes of one network on the same images, compiled differently, differ by a few float32 eps of
  their features, in deep networks by more, and by an eps of bfloat16 if the features are rounded to
  it. Training soon moves features by much more.

  Args:
    size: The length of typical vectors that the vector in question was computed from.
    dtype: The float dtype that those numbers were rounded to.

  Returns:
    float32 of the shape of `size`.
  """
  return jnp.float32(max(NOISE, 2 * float(jnp.finfo(dtype).eps))) * size


def typical_length(x: jax.Array) -> jax.Array:
  """Root mean square of the lengths of the vectors x [..., A]: a constant float32 scalar."""
  squared = jnp.sum(jax.lax.stop_gradient(x).astype(jnp.float32) ** 2, -1)
  return jnp.sqrt(jnp.mean(squared))


def safe_norm(x: jax.Array, floor: jax.Array | float = 0.0) -> jax.Array:
  """|x| of the vectors x [..., A]; 0, with gradient 0, where |x| <= `floor`.

  The gradient of a norm is a unit vector however short x is. Next to 0 it has the direction of the
  rounding noise, which differs between compilers and devices, at 0 it is NaN. So a norm needs a
  `floor`, usually `rounding(size)`, below which a vector counts as 0.

  Args:
    x: [..., A], any float dtype.
    floor: Constant; broadcasts with [...].

  Returns:
    [...] float32.

  >>> import jax, jax.numpy as jnp
  >>> safe_norm(jnp.array([[3.0, 4.0], [3e-9, 4e-9]]), floor=1e-6).tolist()
  [5.0, 0.0]
  """
  squared, is_long = _squared_length(x.astype(jnp.float32), floor)
  return jnp.where(is_long, jnp.sqrt(jnp.where(is_long, squared, 1.0)), 0.0)


def l2_normalize(x: jax.Array, size: jax.Array | None = None) -> jax.Array:
  """x / |x| of the vectors x [..., A]; a vector without a direction becomes 0, with gradient 0.

  A vector has no direction if its length is within `rounding` of the size of what it was computed
  from. Without that rule the noise of a vector that should be 0 would become a unit vector.

  Args:
    x: [..., A], any float dtype.
    size: [...] or a scalar: the length of the vectors that x is computed from, for a sum the sum of
      their lengths; constant. None: the `typical_length` of x itself.

  Returns:
    [..., A] float32.

  >>> import jax.numpy as jnp
  >>> l2_normalize(jnp.array([[0.0, 2.0], [0.0, 0.0], [1e-9, 0.0]])).tolist()
  [[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
  """
  x = x.astype(jnp.float32)
  squared, is_long = _squared_length(x, rounding(typical_length(x) if size is None else size))
  inverse = jnp.where(is_long, jax.lax.rsqrt(jnp.where(is_long, squared, 1.0)), 0.0)
  return x * inverse[..., None]


def _squared_length(x: jax.Array, floor: jax.Array | float) -> tuple[jax.Array, jax.Array]:
  """|x|^2 [...] of x [..., A], and whether |x| exceeds 0 and the floor.

  The comparison is of squares: a root has no gradient at 0, so short vectors must not reach it.
  """
  squared = jnp.sum(x * x, -1)
  return squared, (squared > 0) & (squared > jax.lax.stop_gradient(jnp.square(floor)))


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
  """`a @ b` in float32 at the highest precision: at temperature 100 logits differ by 0.01 only."""
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
  check_integer(name, labels)


def check_integer(name: str, array: jax.Array, content: str = "class ids") -> None:
  """Raises a ValueError unless `array` holds integers, which are its `content`."""
  if not jnp.issubdtype(array.dtype, jnp.integer):
    raise ValueError(f"{name} has dtype {array.dtype}; expected integer {content}")


def check_rows(name: str, array: jax.Array, width: int, of: str = "embeddings") -> None:
  """Raises a ValueError unless `array` is a float table [rows, width]."""
  check_float(name, array)
  if array.ndim != 2 or array.shape[-1] != width:
    raise ValueError(f"{name} has shape {array.shape}, but {of} ask for [rows, {width}]")


def check_positive(name: str, value: float) -> None:
  """Raises a ValueError for a number that is not above 0 (a traced value cannot be checked)."""
  if isinstance(value, (int, float)) and not value > 0:
    raise ValueError(f"{name} = {value}; expected a number above 0")


def check_share(name: str, value: float | jax.Array) -> None:
  """Raises a ValueError for a number outside [0, 1] (a traced value cannot be checked)."""
  if isinstance(value, (int, float)) and not 0 <= value <= 1:
    raise ValueError(f"{name} = {value}; expected a number in [0, 1]")


def check_count(name: str, value: int) -> None:
  """Raises a ValueError unless the value is an integer of at least 1."""
  if not isinstance(value, int) or value < 1:
    raise ValueError(f"{name} = {value}; expected an integer of at least 1")


def check_option(name: str, value: str, options: Sequence[str]) -> None:
  """Raises a ValueError unless the value is one of the options."""
  if value not in options:
    raise ValueError(f"{name} = {value!r}; expected {' or '.join(map(repr, options))}")


def check_reduction(reduction: str) -> None:
  """Raises a ValueError unless the reduction is "mean" or "none"."""
  check_option("reduction", reduction, ("mean", "none"))
