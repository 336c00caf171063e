"""Rein (Wei et al., 2024): learned tokens that refine the patches behind every block of a frozen ViT.

With the tokens T [m, C] of a block and two linear layers and a factor s that all blocks share:

  a = softmax(f T' / sqrt(C));  d = a[:, 1:] L_t(T[1:]);  f <- f + s L_f(d + f)

The first token takes attention and gives nothing. cls and registers pass unchanged. The query link of
the published decoder is left out. Golden: `base/rein`.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform

START = 0.001  # of the factor s


@dataclasses.dataclass(frozen=True)
class Rein:
  """Settings of the adapter.

  Attributes:
    tokens: Number of tokens per block, m.
    rank: Tokens are the product of two factors with so many channels between them; 0: they are free.
    use_softmax: Whether the attention is a softmax; else it is f T' as it is.
    zero_start: Whether s is the constant 1 and L_f starts at 0, so that step 0 is the base network.
  """

  tokens: int = 100
  rank: int = 16
  use_softmax: bool = True
  zero_start: bool = False


class Weights(NamedTuple):
  """The adapter's parameters as arrays, in the compute dtype; linear maps are x @ kernel + bias.

  Attributes:
    tokens: [N, m, C], of all N blocks.
    to_features: Kernel [C, C] and bias [C] of L_t.
    to_delta: Kernel and bias of L_f.
    factor: Scalar, s.
  """

  tokens: jax.Array
  to_features: tuple[jax.Array, jax.Array]
  to_delta: tuple[jax.Array, jax.Array]
  factor: jax.Array | float


class _Linear(nn.Module):
  """The parameters of a linear layer."""

  dim: int
  zero: bool = False

  @nn.compact
  def __call__(self) -> tuple[jax.Array, jax.Array]:
    zeros = nn.initializers.zeros
    kernel, bias = (zeros, zeros) if self.zero else (TORCH_WEIGHTS, torch_uniform(self.dim))
    return (
      self.param("kernel", kernel, (self.dim, self.dim), jnp.float32),
      self.param("bias", bias, (self.dim,), jnp.float32),
    )


class Reins(nn.Module):
  """The adapter's parameters. Names are those of the released checkpoints.

  Attributes:
    settings: The adapter.
    blocks: Number of blocks, N.
    dim: Channels of a token, C.
    patch: Side of a patch in pixels; the tokens' start depends on it.
  """

  settings: Rein
  blocks: int
  dim: int
  patch: int

  @nn.compact
  def __call__(self, dtype: DTypeLike) -> Weights:
    """Returns the parameters in `dtype`."""
    count, rank, area = self.settings.tokens, self.settings.rank, 3 * self.patch**2

    def uniform(name, channels, *shape):
      bound = (6 / (area + channels)) ** 0.5
      init = lambda key, shape: jax.random.uniform(key, shape, minval=-bound, maxval=bound)
      return self.param(name, init, (self.blocks, *shape))

    if rank:
      channels = (self.dim * rank) ** 0.5
      down = uniform("learnable_tokens_a", channels, count, rank)
      tokens = down @ uniform("learnable_tokens_b", channels, rank, self.dim)
    else:
      tokens = uniform("learnable_tokens", self.dim, count, self.dim)
    factor = 1.0
    if not self.settings.zero_start:
      factor = self.param("factor", nn.initializers.constant(START), ())
    weights = Weights(
      tokens=tokens,
      to_features=_Linear(self.dim, name="mlp_token2feat")(),
      to_delta=_Linear(self.dim, zero=self.settings.zero_start, name="mlp_delta_f")(),
      factor=factor,
    )
    return jax.tree.map(lambda x: jnp.asarray(x, dtype), weights)


def refine(
  x: jax.Array, tokens: jax.Array, weights: Weights, settings: Rein, prefix: int
) -> jax.Array:
  """Refines the patches behind one block.

  Args:
    x: [B, prefix + n, C].
    tokens: [m, C], those of the block.
    weights: What the blocks share.
    settings: The adapter.
    prefix: Number of tokens (cls, registers) that pass unchanged.

  Returns:
    The next x.
  """
  f = x[:, prefix:]
  attention = f @ tokens.T
  if settings.use_softmax:
    scores = attention.astype(jnp.float32) * f.shape[-1] ** -0.5
    attention = jax.nn.softmax(scores, -1).astype(f.dtype)
  linear = lambda x, layer: x @ layer[0] + layer[1]
  delta = attention[..., 1:] @ linear(tokens[1:], weights.to_features)
  f = f + weights.factor * linear(delta + f, weights.to_delta)
  return jnp.concatenate([x[:, :prefix], f], 1)
