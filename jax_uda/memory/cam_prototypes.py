"""One unit prototype per class, made of the few pixels where class activation maps (CAM) are highest.

From the embeddings v and the activations w of one batch, for every class c in it:

  picked    P_c = the `top_k` pixels of class c with the largest w_c; ties go to the first in memory
  mean      m_c = normalise(sum_{P_c} w_c v / sum_{P_c} w_c)
  update    mu_c <- normalise((1 - a) mu_c + a m_c)

Only a few dozen pixels per class matter. So only w is upsampled to the label's size, one class after
the other, and embeddings are interpolated at the picked pixels alone. (CONFETI, Li et al., CVPR Workshops
2023; golden `confeti/proto_update`.) CONFETII's begin as means of all pixels, `update_by_means`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import arrays, resize
from jax_uda.ops.labels import check_map, class_masses


class CamPrototypes(NamedTuple):
  """The prototypes of all classes: rows of classes never seen are 0, the others have unit norm."""

  prototypes: jax.Array  # [C, A] float32
  counts: jax.Array  # [C] float32: pixels picked so far, or updates; see `update`


class _Picked(NamedTuple):
  """The K pixels picked for each class."""

  weights: jax.Array  # [C, K] float32; 0 where the class has fewer pixels
  place: jax.Array  # [C, K] int32, flat over images, rows and columns
  number: jax.Array  # [C] float32: how many of the K are pixels of the class


def empty_cam_prototypes(num_classes: int, dim: int) -> CamPrototypes:
  """The state before any class was seen, for prototypes [C, A] = [num_classes, dim].

  Raises:
    ValueError: A size is not above 0.

  >>> empty_cam_prototypes(num_classes=2, dim=3).counts.tolist()
  [0.0, 0.0]
  """
  arrays.check_positive("num_classes", num_classes)
  arrays.check_positive("dim", dim)
  return CamPrototypes(jnp.zeros((num_classes, dim)), jnp.zeros(num_classes))


def update(
  state: CamPrototypes,
  embeddings: jax.Array,
  cam: jax.Array,
  labels: jax.Array,
  *,
  source_mask: jax.Array | None = None,
  warmup: bool | jax.Array = False,
  ori_size: bool = True,
  momentum: float = 0.999,
  top_k: int = 32,
  proto_ema: Literal["code", "bias_corrected"] = "code",
  align_corners: bool = True,
) -> CamPrototypes:
  """Moves the prototypes of the classes in a batch towards the mean of their most activated pixels.

  All rows are normalised at the end. A class keeps its prototype if the batch does not hold it, or if
  all of its picked pixels have activation 0.

  Args:
    state: The prototypes so far.
    embeddings: v, [..., h, w, A], any float dtype, not normalised; constant. The leading axes are
      images.
    cam: w, [..., h, w, C], activations >= 0 (after ReLU), any float dtype; constant.
    labels: [..., H, W] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    source_mask: [..., H, W], bool or integers, nonzero for a pixel of the source image, or None (all
      are). It is read in the warm-up only.
    warmup: Whether this is the warm-up, in which all activations are 1 and only source pixels are
      used; may be traced.
    ori_size: Whether to pick at the label's size, with activations and embeddings interpolated.
      Otherwise pixels are picked at the map's size, with labels and mask
      taken from pixel floor(i * H / h).
    momentum: The weight of the old prototype once a class has been seen.
    top_k: The most pixels per class.
    proto_ema: `code`, as published: a = 1 for a class not seen before, else 1 - momentum; `counts`
      are picked pixels, also those of activation 0. `bias_corrected`, as in the authors' later
      release, CONFETII: 1 - a = min(1 - 1 / (n + 1), momentum), a running mean at first, and `counts` are
      the updates n. A state must keep to one of them.
    align_corners: Whether corner pixels are aligned when maps are interpolated; not in CONFETII.

  Returns:
    The next CamPrototypes. Without valid pixels all prototypes and counts stay.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CONFETI; golden `confeti/proto_update`, `confetii/proto_update`.

  >>> import jax.numpy as jnp
  >>> embeddings = jnp.array([[[[3.0, 4.0], [0.0, 1.0]]]])  # [B, h, w, A] = [1, 1, 2, 2]
  >>> cam = jnp.array([[[[5.0, 0.0], [0.0, 0.0]]]])  # [B, h, w, C]
  >>> state = empty_cam_prototypes(num_classes=2, dim=2)
  >>> state = update(state, embeddings, cam, jnp.array([[[0, 0]]]))
  >>> [[round(x, 2) for x in row] for row in state.prototypes.tolist()], state.counts.tolist()
  ([[0.6, 0.8], [0.0, 0.0]], [2.0, 0.0])
  """
  _check(state, embeddings, cam, labels, source_mask)
  arrays.check_share("momentum", momentum)
  arrays.check_count("top_k", top_k)
  arrays.check_option("proto_ema", proto_ema, ("code", "bias_corrected"))
  embeddings, cam = (
    jax.lax.stop_gradient(x.reshape(-1, *x.shape[-3:]).astype(jnp.float32))
    for x in (embeddings, cam)
  )
  is_source = True if source_mask is None else source_mask.astype(bool)
  used = is_source | ~jnp.asarray(warmup, bool)  # after the warm-up every pixel is used
  labels = jnp.where(used, labels.astype(jnp.int32), -1).reshape(-1, *labels.shape[-2:])
  if not ori_size:
    labels = resize.nearest(labels[..., None], (embeddings.shape[1], embeddings.shape[2]))[..., 0]
  picked = _pick(cam, labels, jnp.asarray(warmup, bool), top_k, align_corners)
  size = (labels.shape[1], labels.shape[2])
  pixels = _interpolate(embeddings, picked.place, size, align_corners)  # [C, K, A]
  sums = jnp.einsum("ck,cka->ca", picked.weights, pixels, precision="highest")
  size = jnp.sum(picked.weights * arrays.safe_norm(pixels), -1)
  # Normalising the weighted sum is normalising the weighted mean.
  means = arrays.l2_normalize(sums, size)
  return _move(state, means, picked, momentum, proto_ema)


def _pick(
  cam: jax.Array, labels: jax.Array, warmup: jax.Array, top_k: int, align_corners: bool
) -> _Picked:
  """Picks the pixels of labels [B,H,W] with the largest cam [B,h,w,C], class by class.

  It picks first in every image, so that images on different devices stay there, and then among the
  winners.
  """
  batch, height, width = labels.shape
  count = height * width

  def pick_class(class_and_map: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    c, activation = class_and_map
    upsampled = resize.bilinear(activation[..., None], (height, width), align_corners)[..., 0]
    weight = jnp.where(warmup, 1.0, upsampled)
    score = jnp.where(labels == c, weight, -jnp.inf).reshape(batch, count)
    best, index = jax.lax.top_k(score, min(top_k, count))
    index = index + count * jnp.arange(batch)[:, None]
    best, winner = jax.lax.top_k(best.reshape(-1), min(top_k, best.size))
    return best, index.reshape(-1)[winner]

  num_classes = cam.shape[-1]
  best, index = jax.lax.map(pick_class, (jnp.arange(num_classes), jnp.moveaxis(cam, -1, 0)))
  is_member = best > -jnp.inf  # a class with fewer pixels fills the rest with others
  weights = jnp.where(is_member, best, 0.0)
  return _Picked(weights, index, jnp.sum(is_member, -1, dtype=jnp.float32))


def _interpolate(
  maps: jax.Array, index: jax.Array, size: resize.Size, align_corners: bool
) -> jax.Array:
  """Interpolates maps [B,h,w,A], as if upsampled to `size`, at flat indices [...] into [B, *size].

  Returns [..., A].
  """
  image, row, column = jnp.unravel_index(index, (maps.shape[0], *size))
  taps = []
  for place, length, target in zip((row, column), maps.shape[1:3], size, strict=True):
    if align_corners:
      position = place * ((length - 1) / max(target - 1, 1))
    else:
      position = jnp.clip((place + 0.5) * (length / target) - 0.5, 0, length - 1)
    low = jnp.floor(position).astype(jnp.int32)
    high = jnp.minimum(low + 1, length - 1)
    taps.append(((low, 1 - (position - low)), (high, position - low)))
  total = jnp.zeros((*index.shape, maps.shape[-1]), maps.dtype)
  for row, row_share in taps[0]:
    for column, column_share in taps[1]:
      total = total + (row_share * column_share)[..., None] * maps[image, row, column]
  return total


def update_by_means(
  state: CamPrototypes, embeddings: jax.Array, labels: jax.Array, *, momentum: float = 0.999
) -> CamPrototypes:
  """Moves the prototypes of the classes in a batch towards the mean of all of their pixels.

  CONFETII's warm-up. The embeddings count as if interpolated to the label's size, without aligned corners,
  but are not: the mean is taken over the map's cells, each weighted by the pixels that it reaches.

  Args:
    state: The prototypes so far; `counts` are updates.
    embeddings: v, [..., h, w, A], any float dtype, not normalised; constant.
    labels: [..., H, W] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    momentum: The weight of the old prototype is min(1 - 1 / (n + 1), momentum) after n updates.

  Returns:
    The next CamPrototypes; all rows are normalised. A class that the batch does not hold keeps its
    prototype and its count.

  Raises:
    ValueError: A shape, dtype or option does not fit.

  Source: CONFETII; golden `confetii/proto_update`.

  >>> import jax.numpy as jnp
  >>> embeddings = jnp.array([[[[3.0, 4.0], [3.0, 0.0]]]])  # [B, h, w, A] = [1, 1, 2, 2]
  >>> state = empty_cam_prototypes(num_classes=2, dim=2)
  >>> state = update_by_means(state, embeddings, jnp.array([[[0, 1]]]))
  >>> [[round(x, 2) for x in row] for row in state.prototypes.tolist()], state.counts.tolist()
  ([[0.6, 0.8], [1.0, 0.0]], [1.0, 1.0])
  """
  _check(state, embeddings, None, labels, None)
  arrays.check_share("momentum", momentum)
  maps = jax.lax.stop_gradient(embeddings.astype(jnp.float32))
  num_classes, dim = state.prototypes.shape
  sizes = zip(maps.shape[-3:-1], labels.shape[-2:], strict=True)
  rows, columns = (resize.linear_matrix(*size).T for size in sizes)
  masses = class_masses(labels, rows, columns, num_classes).reshape(-1, num_classes)
  cells = maps.reshape(-1, dim)
  sums = arrays.matmul(masses.T, cells)
  means = arrays.l2_normalize(sums, masses.T @ arrays.safe_norm(cells))
  return _blended(state, means, jnp.sum(masses, 0) > 0, momentum)


def _move(
  state: CamPrototypes, means: jax.Array, picked: _Picked, momentum: float, proto_ema: str
) -> CamPrototypes:
  """The state after one step towards the batch's unit `means` [C, A]."""
  is_activated = jnp.sum(picked.weights, -1) > 0
  if proto_ema == "bias_corrected":
    return _blended(state, means, is_activated, momentum)
  running_share = 1 / (state.counts + 1)
  share = jnp.where(state.counts == 0, 1.0, jnp.minimum(1 - running_share, 1 - momentum))
  return _towards(state, means, jnp.where(is_activated, share, 0.0), picked.number)


def _blended(
  state: CamPrototypes, means: jax.Array, moves: jax.Array, momentum: float
) -> CamPrototypes:
  """The bias-corrected moving average: classes that `moves` [C] bool move, and count one update."""
  share = jnp.maximum(1 / (state.counts + 1), 1 - momentum)
  return _towards(state, means, jnp.where(moves, share, 0.0), moves.astype(jnp.float32))


def _towards(
  state: CamPrototypes, means: jax.Array, share: jax.Array, count: jax.Array
) -> CamPrototypes:
  """The state after a step of size `share` [C], with `count` [C] more; rows have unit norm."""
  blend = (1 - share[:, None]) * state.prototypes + share[:, None] * means
  return CamPrototypes(arrays.l2_normalize(blend, jnp.float32(1)), state.counts + count)


def _check(
  state: CamPrototypes,
  embeddings: jax.Array,
  cam: jax.Array | None,
  labels: jax.Array,
  source_mask: jax.Array | None,
) -> None:
  """Raises a ValueError for maps that do not fit each other or the state."""
  num_classes, dim = state.prototypes.shape
  for name, maps, width in (("embeddings", embeddings, dim), ("cam", cam, num_classes)):
    if maps is None:
      continue
    arrays.check_float(name, maps, min_ndim=3)
    expected = (*embeddings.shape[:-1], width)
    arrays.check_shape(name, maps, expected, of="embeddings and prototypes")
  check_map("labels", labels)
  expected = (*embeddings.shape[:-3], *labels.shape[-2:])
  arrays.check_shape("labels", labels, expected, of="embeddings")
  if source_mask is not None:
    arrays.check_shape("source_mask", source_mask, labels.shape, of="labels")
