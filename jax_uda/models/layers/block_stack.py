"""Running a row of equal blocks: one after another, or as a loop that XLA compiles once."""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


def run(
  owner: nn.Module,
  blocks: Sequence[nn.Module],
  x: jax.Array,
  call: Callable[[nn.Module, jax.Array, jax.Array | float], jax.Array],
  rates: Sequence[float],
  *,
  scan: bool,
  remat: bool,
) -> jax.Array:
  """Leads x through all blocks; called inside the compact method of `owner`, which holds them.

  Neither option changes the parameters' names and shapes, nor outputs and gradients (but for
  rounding; with `scan` the random draws are others, of the same distribution).

  Args:
    owner: The module that the blocks are submodules of; its rng stream `dropout` is theirs.
    blocks: Equal but for their names and parameters, which are all they have (no statistics).
    x: [...], of the same shape and dtype behind each block.
    call: `(block, x, rate)` to the next x.
    rates: One number for each block, such as its drop path rate; traced in a scan unless all are 0.
    scan: Whether to loop with `lax.scan` over the stacked parameters: a deep row compiles as fast
      as one block, for a copy of its parameters.
    remat: Whether the backward pass computes each block again instead of keeping what is inside.

  Returns:
    [...], as x.
  """
  if scan and len(blocks) > 1 and not owner.is_initializing():
    return _scan(owner, blocks, x, call, rates, remat)
  for block, rate in zip(blocks, rates, strict=True):
    step = lambda block, x, rate=rate: call(block, x, rate)
    x = (nn.remat(step) if remat else step)(block, x)
  return x


def _scan(
  owner: nn.Module,
  blocks: Sequence[nn.Module],
  x: jax.Array,
  call: Callable,
  rates: Sequence[float],
  remat: bool,
) -> jax.Array:
  apply = nn.apply(call, blocks[0].clone(parent=None, name=None))
  params = [block.variables["params"] for block in blocks]
  each = {"params": jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)}
  if any(rates):
    each["rate"] = jnp.asarray(rates, jnp.float32)
    if owner.has_rng("dropout"):
      each["key"] = jax.random.split(owner.make_rng("dropout"), len(blocks))

  def step(x: jax.Array, own: dict) -> tuple[jax.Array, None]:
    rngs = {"dropout": own["key"]} if "key" in own else None
    return apply({"params": own["params"]}, x, own.get("rate", 0.0), rngs=rngs), None

  # Within a scan nothing else could merge the two computations.
  return jax.lax.scan(jax.checkpoint(step, prevent_cse=False) if remat else step, x, each)[0]
