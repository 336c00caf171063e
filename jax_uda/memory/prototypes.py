"""Class prototypes as an exponential moving average, initialised by a mean over the data set.

  update   mu_c <- d mu_c + (1-d) m_c       m_c: mean embedding of the class in the batch
  start    mu_c = mean over the images that hold class c of the image's mean embedding of c

Prototypes are not normalised: those of unit embeddings have norms up to 1.

The replicas of SPCL's reference do not share their prototypes. Here they are a leading axis
[G, C, A] and `jax.vmap`, whatever the number of devices:

  >>> import functools
  >>> import jax, jax.numpy as jnp
  >>> prototypes = jnp.zeros((2, 1, 1))  # [G, C, A]
  >>> means, counts = jnp.array([[[1.0]], [[3.0]]]), jnp.ones((2, 1))
  >>> jax.vmap(functools.partial(update, decay=0.5))(prototypes, means, counts).tolist()
  [[[0.5]], [[1.5]]]

(SPCL, Xie et al., 2021.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.memory.means import class_means
from jax_uda.ops import arrays


def update(
  prototypes: jax.Array,
  batch_means: jax.Array,
  counts: jax.Array,
  *,
  decay: float,
  keep_absent: bool = True,
) -> jax.Array:
  """`decay * prototypes + (1 - decay) * batch_means`, class by class.

  Args:
    prototypes: [C, A], constant.
    batch_means: [C, A], any float dtype; constant. Rows of absent classes are not read.
    counts: [C] numbers: a class is in the batch if its count is above 0.
    decay: The weight of the old prototypes: SPCL's alpha, 0.1.
    keep_absent: Whether classes that the batch does not hold keep their prototype. Otherwise it is
      mixed with a zero vector and vanishes within a few steps, as in SPCL's reference.

  Returns:
    [C, A] float32.

  Raises:
    ValueError: A shape or dtype does not fit, or `decay` is not in [0, 1].

  Source: SPCL; golden `spcl/proto_update_seq`, `spcl/groups`.

  >>> import jax.numpy as jnp
  >>> old, means, counts = jnp.ones((2, 1)), jnp.array([[3.0], [9.0]]), jnp.array([4, 0])
  >>> update(old, means, counts, decay=0.5).tolist()
  [[2.0], [1.0]]
  >>> update(old, means, counts, decay=0.5, keep_absent=False).tolist()
  [[2.0], [0.5]]
  """
  arrays.check_float("prototypes", prototypes, min_ndim=2)
  arrays.check_float("batch_means", batch_means)
  arrays.check_shape("batch_means", batch_means, prototypes.shape, of="prototypes")
  arrays.check_shape("counts", counts, prototypes.shape[:1], of="prototypes")
  arrays.check_share("decay", decay)
  present = (counts > 0)[:, None]
  old = prototypes.astype(jnp.float32)
  new = decay * old + (1 - decay) * jnp.where(present, batch_means.astype(jnp.float32), 0.0)
  return jax.lax.stop_gradient(jnp.where(present, new, old) if keep_absent else new)


class PrototypeSums(NamedTuple):
  """What a pass over a data set has gathered so far; the classes seen are those of `images > 0`."""

  sums: jax.Array  # [C, A] float32: the sum of the images' class means
  images: jax.Array  # [C] int32: the number of images that hold the class


def empty_prototype_sums(num_classes: int, dim: int) -> PrototypeSums:
  """The sums of no images, for prototypes [C, A] = [num_classes, dim].

  Raises:
    ValueError: A size is not above 0.

  >>> empty_prototype_sums(num_classes=3, dim=2).images.tolist()
  [0, 0, 0]
  """
  arrays.check_positive("num_classes", num_classes)
  arrays.check_positive("dim", dim)
  table = jnp.zeros((num_classes, dim), jnp.float32)
  return PrototypeSums(table, jnp.zeros(num_classes, jnp.int32))


def add_images(state: PrototypeSums, embeddings: jax.Array, labels: jax.Array) -> PrototypeSums:
  """Adds images; each counts once in every class that it holds, however many pixels it has.

  Args:
    state: The sums so far.
    embeddings: [..., h, w, A], any float dtype, used as they are; constant. The leading axes are
      images.
    labels: [..., h, w] integers; a pixel outside 0..C-1 (255 = ignore) is left out.

  Returns:
    The next PrototypeSums. An image without valid pixels changes nothing.

  Raises:
    ValueError: A shape or dtype does not fit.

  Source: SPCL; golden `spcl/proto_init`.

  >>> import jax.numpy as jnp
  >>> images = jnp.array([[[[2.0], [4.0]]], [[[9.0], [0.0]]]])  # [B, h, w, A] = [2, 1, 2, 1]
  >>> labels = jnp.array([[[0, 0]], [[0, 255]]])
  >>> state = add_images(empty_prototype_sums(num_classes=2, dim=1), images, labels)
  >>> state.images.tolist(), prototypes_of(state).tolist()
  ([2, 0], [[6.0], [0.0]])
  """
  num_classes, dim = state.sums.shape
  arrays.check_float("embeddings", embeddings, min_ndim=3)
  arrays.check_shape("embeddings", embeddings, (*embeddings.shape[:-1], dim), of="sums")
  arrays.check_labels("labels", labels, embeddings.shape[:-1], of="embeddings")
  means, counts = jax.vmap(lambda x, y: class_means(x, y, num_classes))(
    embeddings.reshape(-1, *embeddings.shape[-3:]), labels.reshape(-1, *labels.shape[-2:])
  )
  images = jnp.sum(counts > 0, 0, dtype=jnp.int32)
  return PrototypeSums(state.sums + jnp.sum(means, 0), state.images + images)


def prototypes_of(state: PrototypeSums) -> jax.Array:
  """The prototypes [C, A] float32: means of the images' class means, 0 for a class never seen.

  >>> import jax.numpy as jnp
  >>> prototypes_of(PrototypeSums(jnp.array([[6.0], [0.0]]), jnp.array([3, 0]))).tolist()
  [[2.0], [0.0]]
  """
  return state.sums / jnp.maximum(state.images, 1)[:, None]
