"""Attention by cuDNN's fused kernel beside XLA's plain one, forward and backward, in bfloat16."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import measure

from jax_uda.models.layers import attention

# [batch, queries, keys, heads, width per head]
SIZES = {
  "vit_large_1120": (2, 6401, 6401, 16, 64),
  "mit_stage1_1024": (2, 65536, 1024, 1, 64),
  "mit_stage3_1024": (2, 4096, 1024, 5, 64),
}
DRY = {"tiny": (1, 16, 16, 2, 8)}


def figures_of(sizes: tuple[int, ...], repeats: int) -> dict[str, Any]:
  """Milliseconds of both, and the memory of their temporaries."""
  batch, queries, keys, heads, width = sizes
  draw = lambda seed, length: jax.random.normal(
    jax.random.key(seed), (batch, length, heads, width), jnp.bfloat16
  )
  inputs = draw(0, queries), draw(1, keys), draw(2, keys)
  figures = {}
  for name in ("xla", "cudnn"):
    attend = functools.partial(attention._fused, implementation=name)
    total = lambda q, k, v: jnp.sum(attend(q, k, v).astype(jnp.float32))  # noqa: B023
    try:
      step = jax.jit(jax.grad(total, (0, 1, 2))).lower(*inputs).compile()
      run = lambda: jax.block_until_ready(step(*inputs))  # noqa: B023
      seconds = measure.median_seconds(run, warm_up=2, repeats=repeats)
    except Exception as error:  # no such kernel on this device, or out of memory
      figures[name] = str(error).splitlines()[0][:200]
      continue
    figures[f"{name}_ms"] = round(1e3 * seconds, 3)
    figures[f"{name}_gib"] = round(step.memory_analysis().temp_size_in_bytes / 2**30, 3)
  return figures


if __name__ == "__main__":
  args = measure.arguments(__doc__)
  results = measure.Results(args.results)
  for name, sizes in (DRY if args.dry else SIZES).items():
    results.attempt(name, lambda: figures_of(sizes, 2 if args.dry else 20))  # noqa: B023
