"""LoRA (Hu et al., 2022): a low-rank addition to linear layers whose weights are frozen.

y = W x + b + s B (A x), with A [r, in], B [out, r] and s = alpha / r. B starts at 0, so that step 0 is the
base network. The addition can be merged into W. Golden: `base/lora`.
"""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.models.layers.initializers import torch_uniform


@dataclasses.dataclass(frozen=True)
class LoRA:
  """Settings of the adapter.

  Attributes:
    rank: Rows of A, r.
    alpha: The addition is multiplied by alpha / r; None: by 1.
    targets: Linear layers of a block by their last names, e.g. `attn.qkv` or `mlp.fc1`.
    root: Multiply by alpha / sqrt(r) instead.
  """

  rank: int = 16
  alpha: float | None = None
  targets: tuple[str, ...] = ("attn.qkv", "attn.proj")
  root: bool = False

  @property
  def factor(self) -> float:
    """What the addition is multiplied by, s."""
    if self.alpha is None:
      return 1.0
    return self.alpha / (self.rank**0.5 if self.root else self.rank)

  @contextlib.contextmanager
  def applied(self) -> Iterator[None]:
    """Adapts the linear layers that are called inside; each gets parameters `lora_a` and `lora_b`.

    Raises:
      ValueError: A target names no linear layer that was called.
    """
    called, adapted = set(), set()

    def add(next_call, args, kwargs, context):
      y, layer = next_call(*args, **kwargs), context.module
      if not isinstance(layer, nn.Dense) or context.method_name != "__call__":
        return y
      name = ".".join(layer.path[-2:])
      called.add(name)
      if name not in self.targets:
        return y
      adapted.add(name)
      return y + self._addition(layer, args[0])

    with nn.intercept_methods(add):
      yield
    if unknown := sorted({*self.targets} - adapted):
      raise ValueError(
        f"the adapter's targets {', '.join(unknown)} are no linear layers of the encoder; it has "
        f"{', '.join(sorted(called))}"
      )

  def _addition(self, layer: nn.Dense, x: jax.Array) -> jax.Array:
    """Returns s B (A x), in the layer's dtype; the compact call of `layer` is under way."""
    fan_in = x.shape[-1]
    down = layer.param("lora_a", torch_uniform(fan_in), (self.rank, fan_in), jnp.float32)
    up = layer.param("lora_b", nn.initializers.zeros, (layer.features, self.rank), jnp.float32)
    x, down, up = (array.astype(layer.dtype or x.dtype) for array in (x, down, up))
    return ((x @ down.T) @ up.T) * self.factor

  def merge(self, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters of the network without the adapter that computes the same.

    Args:
      params: Nested dicts, with `lora_a` and `lora_b` beside the `kernel` that they adapt.
    """
    merged = {
      name: self.merge(value) if isinstance(value, Mapping) else value
      for name, value in params.items()
      if name not in ("lora_a", "lora_b")
    }
    if "lora_a" in params:
      down, up = (np.asarray(params[name], np.float32) for name in ("lora_a", "lora_b"))
      merged["kernel"] = np.asarray(params["kernel"]) + np.float32(self.factor) * (up @ down).T
    return merged
