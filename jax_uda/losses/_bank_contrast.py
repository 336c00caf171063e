"""Pixels against a bank of prototypes a class (SePiCo BankCL), without an [N, C, L] tensor.

The negatives need only the mean of each class's bank: the mean of similarities is the similarity of
the mean. The positives need every entry, but only of the pixel's own class. So pixels are grouped by
class into blocks of equal size, and each block meets one bank: a C-th of the work of all pairs.
"""

import functools

import jax
import jax.numpy as jnp

from jax_uda.ops import anchor_blocks, arrays


def bank_cross_entropy(
  embeddings: jax.Array,
  labels: jax.Array,
  bank: jax.Array,
  length: jax.Array,
  *,
  temperature: float,
  weights: jax.Array | None = None,
  block: int = 128,
) -> jax.Array:
  """Weighted mean of `mean_l softplus(lse_{k != y}(f . mean(b_k) / t) - f . b_yl / t)`.

  Each entry l of the own bank is a positive of its own; every other class's bank is one negative,
  its mean entry. A class with an empty bank is no negative, and its pixels are left out.

  Args:
    embeddings: [..., A], any float dtype. With three or more axes the pixels are grouped within
      each entry of axis 0, so that a batch split over devices stays where it is.
    labels: [...] integers; a pixel outside 0..C-1 (255 = ignore) is left out.
    bank: [C, L, A], constant. The order of its entries does not matter.
    length: [C] integers: the entries 0..length-1 of a class count.
    temperature: Divides the similarities.
    weights: [...] float32 or None (all 1); constant.
    block: Pixels a block; changes memory and time, not the value.

  Returns:
    float32 scalar. No valid pixel: value and gradient are exactly 0.

  Raises:
    ValueError: A shape or dtype does not fit, or temperature or block is not above 0.

  Source: SePiCo (Xie et al., TPAMI 2023) BankCL; golden `sepico/bank_loss`.

  >>> import jax.numpy as jnp
  >>> bank = jnp.eye(2)[:, None]  # one entry a class: the prototype loss
  >>> loss = bank_cross_entropy(jnp.eye(2), jnp.array([0, 1]), bank, jnp.ones(2, int), temperature=1.0)
  >>> print(f"{loss:.4f}")
  0.3133
  """
  _check(embeddings, bank, length, temperature, block)
  num_classes, num_entries, dim = bank.shape
  bank = jax.lax.stop_gradient(bank.astype(jnp.float32)) / temperature
  filled = jnp.arange(num_entries) < length[:, None]  # [C, L]
  x, y, w = arrays.pixels(embeddings, labels, weights, num_classes)
  groups = embeddings.shape[0] if embeddings.ndim > 2 else 1
  w = w * filled[:, 0][y]
  split = lambda a: a.reshape(groups, -1, *a.shape[1:])
  sums = jax.vmap(functools.partial(_weighted_sum, bank=bank, filled=filled, block=block))(
    split(x), split(y), split(w)
  )
  return jnp.sum(sums) / jnp.where(jnp.sum(w) > 0, jnp.sum(w), 1.0)


def _check(embeddings, bank, length, temperature, block) -> None:
  arrays.check_positive("temperature", temperature)
  arrays.check_positive("block", block)
  arrays.check_float("embeddings", embeddings, min_ndim=2)
  arrays.check_float("bank", bank)
  if bank.ndim != 3 or bank.shape[-1] != embeddings.shape[-1]:
    raise ValueError(
      f"bank has shape {bank.shape}, but embeddings ask for [C, L, {embeddings.shape[-1]}]"
    )
  arrays.check_labels("length", length, bank.shape[:1], of="banks")


def _weighted_sum(
  x: jax.Array, y: jax.Array, w: jax.Array, bank: jax.Array, filled: jax.Array, block: int
) -> jax.Array:
  """Sum of w * loss over the pixels x [N, A], y [N], w [N]; bank is that over the temperature."""
  order, is_pixel, block_class = _blocks(y, len(bank), block)
  count = jnp.sum(filled, 1)
  mean = jnp.sum(jnp.where(filled[..., None], bank, 0.0), 1) / jnp.maximum(count, 1)[:, None]
  in_blocks = lambda a: a.reshape(-1, block, *a.shape[1:])
  total, _ = anchor_blocks.total(
    _block_sum,
    in_blocks(x[order]),
    (),  # the bank is not trained
    (in_blocks(jnp.where(is_pixel, w[order], 0.0)), block_class),
    (bank, mean, filled),
  )
  return total


def _block_sum(members, trained, block_constants, constants) -> tuple[jax.Array, None]:
  """Sum of weight * loss over a block of one class's pixels, members [block, A]."""
  del trained
  (weight, c), (bank, mean, filled) = block_constants, constants
  count = jnp.sum(filled, 1)
  is_negative = (jnp.arange(len(bank)) != c) & (count > 0)
  # A finite floor instead of -inf: a lone class has no negatives, and must not give NaN gradients.
  negatives = jnp.where(is_negative, arrays.matmul(members, mean.T), -1e30)
  margin = jax.nn.logsumexp(negatives, -1)[:, None] - arrays.matmul(members, bank[c].T)
  nll = jnp.sum(jnp.where(filled[c], jax.nn.softplus(margin), 0.0), 1) / jnp.maximum(count[c], 1)
  return jnp.sum(jnp.where(weight > 0, weight * nll, 0.0)), None


def _blocks(y: jax.Array, num_classes: int, block: int) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Blocks of one class each, for labels y [N].

  Returns (order [M] the pixel in each slot, is_pixel [M] whether it is one, block_class [M / block]),
  with M = block * (ceil(N / block) + C), enough for any labels.
  """
  num_pixels = len(y)
  num_blocks = -(-num_pixels // block) + num_classes
  counts = jnp.sum(y[:, None] == jnp.arange(num_classes), 0)
  ends = jnp.cumsum(-(-counts // block))  # [C], in blocks
  first_slot = (ends - -(-counts // block)) * block
  first_pixel = jnp.cumsum(counts) - counts
  by_class = jnp.argsort(y, stable=True)
  sorted_y = y[by_class]
  slot = first_slot[sorted_y] + jnp.arange(num_pixels) - first_pixel[sorted_y]
  order = jnp.full(num_blocks * block, -1, jnp.int32).at[slot].set(by_class.astype(jnp.int32))
  block_class = jnp.searchsorted(ends, jnp.arange(num_blocks), side="right")
  return jnp.maximum(order, 0), order >= 0, jnp.minimum(block_class, num_classes - 1)
