"""Heads that map features to the vectors that contrastive losses compare."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from jax_uda.models.heads.levels import level_of
from jax_uda.models.layers.conv_module import ConvModule
from jax_uda.models.layers.initializers import TORCH_WEIGHTS, torch_uniform
from jax_uda.models.protocols import Features
from jax_uda.ops import arrays, resize


class ProjectionHead(nn.Module):
  """SePiCo's head: two 1x1 convolutions, each with BatchNorm and ReLU, then L2 normalisation.

  The second ReLU stays, so embeddings are non-negative unit vectors, or exactly zero. Golden:
  `sepico/proj_head`.

  Attributes:
    dim: Embedding dimension, A.
    hidden: Channels between the convolutions. 0 stands for a quarter of the sum of all levels'
      channels if `levels` is "all", and for the channels of the last level if it is "last".
    levels: "all" joins every encoder level at the size of the finest; "last" reads the coarsest.
    dtype: Compute dtype; parameters, BatchNorm statistics and embeddings are float32.
  """

  dim: int = 512
  hidden: int = 0
  levels: Literal["all", "last"] = "all"
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(
    self,
    features: Features,
    fused: jax.Array | None = None,
    *,
    train: bool = False,
    use_running_average: bool,
  ) -> jax.Array:
    """Maps encoder maps, fine to coarse, to unit vectors [B, h, w, A]; has no dropout."""
    x, hidden = features[-1], self.hidden or features[-1].shape[-1]
    if self.levels == "all":
      size = features[0].shape[1], features[0].shape[2]
      x = jnp.concatenate([resize.bilinear(level, size) for level in features], -1)
      hidden = self.hidden or x.shape[-1] // 4
    for i, width in enumerate((hidden, self.dim)):
      block = ConvModule(width, dtype=self.dtype, name=f"convs_{i}")
      x = block(x, use_running_average=use_running_average)
    return arrays.l2_normalize(x)


class RegionProjectionHead(nn.Module):
  """RCCR's head: two 1x1 convolutions with bias, a ReLU between them, then L2 normalisation.

  Golden: `rccr/projection_head`.

  Attributes:
    dim: Embedding dimension, A.
    hidden: Channels between the convolutions; 0 stands for as many as come in.
    uniform_bias: Whether biases start as in PyTorch (RCCR) instead of at 0. With few channels they
      outweigh the weights, N(0, 0.01^2), and all vectors start nearly equal: with 64 channels their
      mean cosine is 0.999, and 0.6 if biases start at 0. With RCCR's 2048 both are 0.5.
    source: "last" reads the coarsest encoder map (RCCR, at stride 8), "fused" the decoder's map.
    pool: Side of the cells that are averaged first, which multiplies the stride; a last row or
      column that fills no cell is dropped.
    dtype: Compute dtype; parameters and embeddings are float32.
  """

  dim: int = 128
  hidden: int = 0
  uniform_bias: bool = False
  source: Literal["last", "fused"] = "last"
  pool: int = 1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, fused: jax.Array | None = None, **mode: bool) -> jax.Array:
    """Maps the coarsest encoder map, or the decoder's fused map, to unit vectors [B, h, w, A].

    Raises:
      ValueError: The head reads the fused map, and the pass leaves it out.
    """
    x = features[-1] if self.source == "last" else fused
    if x is None:
      raise ValueError(
        "this head reads the decoder's map: ask for the output 'decoder' or 'fused' too"
      )
    if self.pool > 1:
      x = nn.avg_pool(x, (self.pool, self.pool), (self.pool, self.pool))
    x = nn.relu(self._conv(x, self.hidden or x.shape[-1], "project_0"))
    return arrays.l2_normalize(self._conv(x, self.dim, "project_2"))

  def _conv(self, x: jax.Array, features: int, name: str) -> jax.Array:
    return nn.Conv(
      features,
      (1, 1),
      kernel_init=nn.initializers.normal(0.01),
      bias_init=torch_uniform(x.shape[-1]) if self.uniform_bias else nn.initializers.zeros,
      dtype=self.dtype,
      name=name,
    )(x)


class LinearProjectionHead(nn.Module):
  """CONFETI's head: a 1x1 convolution without bias on the coarsest encoder map, not normalised.

  Attributes:
    dim: Embedding dimension, A.
    dtype: Compute dtype; parameters and embeddings are float32.
  """

  dim: int = 512
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, fused: jax.Array | None = None, **mode: bool) -> jax.Array:
    """Maps the coarsest of the encoder maps to embeddings [B, h, w, A]."""
    conv = nn.Conv(
      self.dim,
      (1, 1),
      use_bias=False,
      kernel_init=TORCH_WEIGHTS,
      dtype=self.dtype,
      name="conv_proj",
    )
    return conv(features[-1]).astype(jnp.float32)


class LevelProjectionHead(nn.Module):
  """CONFETII's head: two 1x1 convolutions with bias and a ReLU between them on an encoder map.

  Golden: `confetii/soft_contrast`.

  Attributes:
    dim: Embedding dimension, A, which is also the hidden width.
    level: The encoder map that it reads, by its position; -1 is the coarsest.
    dtype: Compute dtype; parameters and embeddings are float32.
  """

  dim: int = 256
  level: int = -1
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, features: Features, fused: jax.Array | None = None, **mode: bool) -> jax.Array:
    """Maps one of the encoder maps to embeddings [B, h, w, A], not normalised."""
    x = nn.relu(self._conv(level_of(features, self.level), "project_0"))
    return self._conv(x, "project_2").astype(jnp.float32)

  def _conv(self, x: jax.Array, name: str) -> jax.Array:
    conv = nn.Conv(
      self.dim,
      (1, 1),
      kernel_init=TORCH_WEIGHTS,
      bias_init=torch_uniform(x.shape[-1]),
      dtype=self.dtype,
      name=name,
    )
    return conv(x)
