"""Contrast of pixels with a bank of prototypes per class (SePiCo BankCL), without an [N, C, L] tensor.

The negatives need only the mean of each class's bank, because the mean of similarities is the
similarity of the mean. The positives need every entry, but only of the pixel's own class. So pixels
are grouped by class into blocks of equal size, and each block meets one bank. That is one C-th of the
work of all pairs.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays
from jax_uda.ops.arrays import Reduction


def bank_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: jax.Array,
  length: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  block: int = 128,
  reduction: Reduction = "mean",
) -> jax.Array:
  """Weighted mean over pixels of `mean_l softplus(lse_{k != y}(f . mean(b_k) / t) - f . b_yl / t)`.

  Each entry l of the bank of the pixel's class y is a positive of its own. Every other class k is one
  negative: the mean of its entries. A class with an empty bank is no negative, and its pixels are
  left out.

  Args:
    embeddings: f, [..., A], any float dtype. With three or more axes, pixels are grouped within each
      entry of axis 0, so that a batch that is split over devices stays where it is.
    labels: y, [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    bank: b, [C, L, A], constant. The order of the entries does not matter.
    length: [C] integers: how many of a class's entries, from the first on, hold something.
    temperature: t.
    weights: [...] float32 or None (all 1); constant.
    block: The number of pixels per block; it changes memory and time, not the value.
    reduction: "mean", or "none" for the losses of the single pixels.

  Returns:
    float32, a scalar or [...]. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, a number is not above 0, or the reduction is unknown.

  Source: SePiCo (Xie et al., TPAMI 2023) BankCL; golden `sepico/bank_loss`.

  >>> import jax.numpy as jnp
  >>> bank = jnp.eye(2)[:, None]  # one entry per class: the prototype loss
  >>> loss = bank_cross_entropy(jnp.eye(2), jnp.array([0, 1]), bank, jnp.ones(2, int), temperature=1.0)
  >>> print(f"{loss:.4f}")
  0.3133
  """
  arrays.check_reduction(reduction)
  _check(embeddings, bank, length, temperature, block)
  num_classes, num_entries, _ = bank.shape
  filled = jnp.arange(num_entries) < length[:, None]  # [C, L]
  scaled = jax.lax.stop_gradient(bank.astype(jnp.float32)) / temperature
  count = jnp.sum(filled, 1)
  mean = jnp.sum(jnp.where(filled[..., None], scaled, 0.0), 1) / jnp.maximum(count, 1)[:, None]
  banks = _Banks(scaled, mean, filled)
  x, y, w = arrays.pixels(embeddings, labels, weights, num_classes)
  w = w * filled[:, 0][y]

  def of_group(x: jax.Array, y: jax.Array, w: jax.Array) -> jax.Array:
    """The weighted sum over the pixels x [N, A], y [N], w [N] of one image, or their losses [N]."""
    blocks = _class_blocks(y, num_classes, block)
    in_blocks = lambda a: a[blocks.pixel].reshape(-1, block, *a.shape[1:])
    arguments = (in_blocks(x), (), blocks.label, banks)  # the banks are not trained
    if reduction == "none":
      return anchor_blocks.each(_rows, *arguments).reshape(-1)[blocks.slot]
    weight = jnp.where(blocks.is_pixel.reshape(-1, block), in_blocks(w), 0.0)
    return anchor_blocks.total(_rows, *arguments, weight)[0]

  groups = embeddings.shape[0] if embeddings.ndim > 2 else 1
  split = lambda a: a.reshape(groups, -1, *a.shape[1:])
  values = jax.vmap(of_group)(split(x), split(y), split(w))
  if reduction == "none":
    return jnp.where(w > 0, values.reshape(-1), 0.0).reshape(labels.shape)
  return jnp.sum(values) / jnp.where(jnp.sum(w) > 0, jnp.sum(w), 1.0)


class _Banks(NamedTuple):
  """The entries of all classes, divided by the temperature."""

  entries: jax.Array  # [C, L, A]
  mean: jax.Array  # [C, A], over the entries that hold something
  filled: jax.Array  # [C, L] bool: the entries that hold something


class _ClassBlocks(NamedTuple):
  """Pixels sorted into blocks of one class each; see `_class_blocks`."""

  pixel: jax.Array  # [M] int32: the pixel in each slot; 0 in a slot without one
  is_pixel: jax.Array  # [M] bool: whether the slot holds a pixel
  label: jax.Array  # [M / block] int: the class of each block
  slot: jax.Array  # [N] int: the slot of each pixel


def _rows(members: jax.Array, trained: tuple[()], label: jax.Array, banks: _Banks) -> jax.Array:
  """The losses [block] of a block of pixels, members [block, A], which all have one label."""
  del trained
  count = jnp.sum(banks.filled, 1)
  is_negative = (jnp.arange(len(count)) != label) & (count > 0)
  # A finite floor instead of -inf: a lone class has no negatives, and must not give NaN gradients.
  negatives = jnp.where(is_negative, arrays.matmul(members, banks.mean.T), -1e30)
  positives = arrays.matmul(members, banks.entries[label].T)  # [block, L]
  nll = jax.nn.softplus(jax.nn.logsumexp(negatives, -1)[:, None] - positives)
  return jnp.sum(jnp.where(banks.filled[label], nll, 0.0), 1) / jnp.maximum(count[label], 1)


def _class_blocks(y: jax.Array, num_classes: int, block: int) -> _ClassBlocks:
  """Sorts pixels with labels y [N] into blocks of one class each.

  With `block` = 2, three classes and y = [1 0 1 2 1], the pixels 0 to 4 are put into 12 slots:

    slot        0   1     2   3     4   5     6   7     8   9    10  11
    pixel     [ 1   - ] [ 0   2 ] [ 4   - ] [ 3   - ] [ -   - ] [ -   - ]
    class         0         1         1         2       (2)       (2)

  A class fills whole blocks, so at most `block - 1` slots per class are wasted. The number of slots,
  M = block * (ceil(N / block) + C), is static and enough for any labels.
  """
  num_pixels = len(y)
  num_blocks = -(-num_pixels // block) + num_classes
  counts = jnp.sum(y[:, None] == jnp.arange(num_classes), 0)
  blocks_per_class = -(-counts // block)
  last_block = jnp.cumsum(blocks_per_class)  # [C], exclusive
  first_slot = (last_block - blocks_per_class) * block
  by_class = jnp.argsort(y, stable=True)
  rank_in_class = jnp.arange(num_pixels) - (jnp.cumsum(counts) - counts)[y[by_class]]
  slot_of_sorted = first_slot[y[by_class]] + rank_in_class
  pixel = jnp.full(num_blocks * block, -1, jnp.int32)
  pixel = pixel.at[slot_of_sorted].set(by_class.astype(jnp.int32))
  label = jnp.searchsorted(last_block, jnp.arange(num_blocks), side="right")
  slot = jnp.zeros(num_pixels, slot_of_sorted.dtype).at[by_class].set(slot_of_sorted)
  return _ClassBlocks(jnp.maximum(pixel, 0), pixel >= 0, jnp.minimum(label, num_classes - 1), slot)


def _check(
  embeddings: jax.Array, bank: jax.Array, length: jax.Array, temperature: float, block: int
) -> None:
  arrays.check_positive("temperature", temperature)
  arrays.check_positive("block", block)
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_float("bank", bank)
  if bank.ndim != 3 or bank.shape[-1] != embeddings.shape[-1]:
    raise ValueError(
      f"bank has shape {bank.shape}, but embeddings ask for [C, L, {embeddings.shape[-1]}]"
    )
  arrays.check_labels("length", length, bank.shape[:1], of="banks")
