"""Runs a row of equal blocks: one after another, or as a loop that XLA compiles once."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.common import platform


def scans(setting: bool | str) -> bool:
  """Whether blocks run as a loop: as `setting` says, and for "auto" on accelerators.

  Their compilers try several kernels per operation, so that a row of 40 blocks takes many minutes.

  Raises:
    ValueError: The setting is neither a bool nor "auto".
  """
  if setting not in (True, False, "auto"):
    raise ValueError(f"scan_blocks = {setting!r} is unknown; choose True, False or 'auto'")
  return platform.name() != "cpu" if setting == "auto" else bool(setting)


def run(
  owner: nn.Module,
  blocks: Sequence[nn.Module],
  x: jax.Array,
  call: Callable[[nn.Module, jax.Array, Any], jax.Array],
  rates: Sequence[float] | jax.Array,
  *,
  scan: bool,
  remat: bool,
) -> jax.Array:
  """Passes x through all blocks; the compact method of `owner`, which holds them, calls this.

  Neither option changes names and shapes of the parameters, nor outputs and gradients beyond
  rounding. With `scan` the random draws differ, but have the same distribution.

  Args:
    owner: The module whose submodules the blocks are; they draw from its rng stream `dropout`.
    blocks: Modules that differ in their names and parameters alone, and have no other variables.
    x: The input [...]; every block keeps its shape and dtype.
    call: A function `(block, x, rate)` that returns the next x.
    rates: One number per block, such as its drop-path rate; traced in a scan unless all are 0. Or an
      array [N, ...], of which block i gets row i.
    scan: Whether to loop with `lax.scan` over the stacked parameters: a deep row then compiles as
      fast as one block, at the price of a copy of its parameters.
    remat: Whether the backward pass computes each block again instead of storing its activations.

  Returns:
    The output of the last block, [...].
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
  call: Callable[[nn.Module, jax.Array, Any], jax.Array],
  rates: Sequence[float] | jax.Array,
  remat: bool,
) -> jax.Array:
  apply = nn.apply(call, blocks[0].clone(parent=None, name=None))
  params = [block.variables["params"] for block in blocks]
  stacked: dict[str, Any] = {"params": jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)}
  if isinstance(rates, jax.Array):
    stacked["rate"] = rates
  elif any(rates):
    stacked["rate"] = jnp.asarray(rates, jnp.float32)
    if owner.has_rng("dropout"):
      stacked["key"] = jax.random.split(owner.make_rng("dropout"), len(blocks))

  def step(x: jax.Array, block: dict[str, Any]) -> tuple[jax.Array, None]:
    rngs = {"dropout": block["key"]} if "key" in block else None
    return apply({"params": block["params"]}, x, block.get("rate", 0.0), rngs=rngs), None

  # Inside a scan, XLA cannot merge the recomputation with the first computation.
  return jax.lax.scan(jax.checkpoint(step, prevent_cse=False) if remat else step, x, stacked)[0]
