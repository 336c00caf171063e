"""Mean, diagonal variance and pixel count of each class, over everything ever seen.

Two disjoint sets of pixels, with n' and n'' members of a class and w = n'' / (n' + n''), are pooled by

  mean     <- (1-w) mean' + w mean''
  variance <- (1-w) variance' + w variance'' + w (1-w) (mean' - mean'')^2
  count    <- n' + n''

so updates in any order, with any split of the pixels, give the statistics of their union. (SePiCo, Xie
et al., TPAMI 2023; golden `sepico/estimator`.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.memory.means import class_means
from jax_uda.ops import arrays


class ClassStatistics(NamedTuple):
  """The statistics of all classes; rows of classes never seen are 0.

  The variance is biased: it is divided by the count.
  """

  mean: jax.Array  # [C, A] float32
  variance: jax.Array  # [C, A] float32
  # [C] float32, pixels (or the sum of their weights); hides a method that no state needs
  count: jax.Array  # pyright: ignore[reportIncompatibleMethodOverride]


def empty_class_statistics(num_classes: int, dim: int) -> ClassStatistics:
  """The statistics of no pixels, for [C, A] = [num_classes, dim]: all 0.

  Raises:
    ValueError: A size is not above 0.

  >>> empty_class_statistics(num_classes=2, dim=3).count.tolist()
  [0.0, 0.0]
  """
  arrays.check_positive("num_classes", num_classes)
  arrays.check_positive("dim", dim)
  table = jnp.zeros((num_classes, dim), jnp.float32)
  return ClassStatistics(table, table, jnp.zeros(num_classes, jnp.float32))


def batch_statistics(
  embeddings: jax.Array,
  labels: jax.Array,
  num_classes: int,
  weights: jax.Array | None = None,
) -> ClassStatistics:
  """The statistics of one batch, by two passes of matrix products over a one-hot [N, C].

  The one-pass form E[f^2] - E[f]^2 loses four digits in float32. The direct form needs several arrays
  [N, C, A]: 2 GB each at 51 200 pixels, 19 classes and 512 dimensions.

  Args:
    embeddings: [..., A], any float dtype; constant.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    num_classes: C.
    weights: [...] float32 or None (all 1).

  Returns:
    ClassStatistics in float32; rows of absent classes are 0.

  Raises:
    ValueError: The shapes or dtypes do not fit.

  >>> import jax.numpy as jnp
  >>> batch = batch_statistics(jnp.array([[1.0], [3.0], [9.0]]), jnp.array([0, 0, 255]), 2)
  >>> batch.mean.tolist(), batch.variance.tolist(), batch.count.tolist()
  ([[2.0], [0.0]], [[1.0], [0.0]], [2.0, 0.0])
  """
  means, counts = class_means(embeddings, labels, num_classes, weights)
  x, y, w = arrays.pixels(embeddings, labels, weights, num_classes)
  deviation = jax.lax.stop_gradient(x) - means[y]
  sums = arrays.matmul(arrays.one_hot(y, w, num_classes).T, deviation * deviation)
  return ClassStatistics(means, sums / jnp.where(counts > 0, counts, 1.0)[:, None], counts)


def merge(old: ClassStatistics, new: ClassStatistics) -> ClassStatistics:
  """The statistics of the union of two disjoint sets of pixels, by the module's formula.

  Args:
    old: The statistics of one set.
    new: The statistics of the other set.

  Returns:
    ClassStatistics; a class that neither set holds stays 0.

  >>> import jax.numpy as jnp
  >>> one, three = (batch_statistics(jnp.array([[x]]), jnp.array([0]), 1) for x in (1.0, 3.0))
  >>> merge(one, three).variance.tolist()
  [[1.0]]
  """
  total = old.count + new.count
  share = jnp.where(total > 0, new.count / jnp.where(total > 0, total, 1.0), 0.0)
  return _blend(old, new, share)._replace(count=total)


def update(
  statistics: ClassStatistics,
  embeddings: jax.Array,
  labels: jax.Array,
  weights: jax.Array | None = None,
  *,
  ema_decay: float | None = None,
) -> ClassStatistics:
  """Adds a batch to the statistics; classes that the batch does not hold keep theirs.

  Args:
    statistics: The state so far.
    embeddings: [..., A], any float dtype; constant.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    weights: [...] float32 or None (all 1).
    ema_decay: None to pool all pixels alike, as the reference does. Otherwise the weight of the old
      statistics of a class that the batch holds, 0 if the class was not seen before.

  Returns:
    The next ClassStatistics.

  Raises:
    ValueError: The shapes or dtypes do not fit, or `ema_decay` is not in [0, 1).

  >>> import jax.numpy as jnp
  >>> state = empty_class_statistics(num_classes=1, dim=1)
  >>> for value in (1.0, 3.0):
  ...   state = update(state, jnp.array([[value]]), jnp.array([0]))
  >>> state.mean.tolist(), state.variance.tolist()
  ([[2.0]], [[1.0]])
  """
  if ema_decay is not None and not 0 <= ema_decay < 1:
    raise ValueError(f"ema_decay = {ema_decay}; expected None or a number in [0, 1)")
  num_classes, dim = statistics.mean.shape
  arrays.check_shape("embeddings", embeddings, (*labels.shape, dim), of="labels and statistics")
  new = batch_statistics(embeddings, labels, num_classes, weights)
  if ema_decay is None:
    return merge(statistics, new)
  is_new = statistics.count == 0
  share = jnp.where(new.count > 0, jnp.where(is_new, 1.0, 1.0 - ema_decay), 0.0)
  return _blend(statistics, new, share)._replace(count=statistics.count + new.count)


def _blend(old: ClassStatistics, new: ClassStatistics, share: jax.Array) -> ClassStatistics:
  """The mixture with weight `share` [C] of the new statistics; the counts stay the old ones."""
  w = share[:, None]
  variance = (1 - w) * old.variance + w * new.variance + w * (1 - w) * (old.mean - new.mean) ** 2
  return ClassStatistics((1 - w) * old.mean + w * new.mean, variance, old.count)
