"""Normalisation layers whose statistics are float32, whatever the compute dtype."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike


class BatchNorm(nn.Module):
  """Batch normalisation over all axes but the last, with PyTorch's rule for the running variance.

  Batches are normalised with their biased variance, but the running variance follows the unbiased
  one (n / (n - 1)); `flax.linen.BatchNorm` stores the biased one. The collection `batch_stats` holds
  `mean` and `var` [D]. They change only where that collection is mutable: a teacher that uses
  batch statistics without storing them is applied with an immutable collection. Under `jit` over
  several devices the statistics are those of the global batch. Golden: `base/daformer_head`.

  Attributes:
    epsilon: Number added to the variance.
    momentum: Share of the new batch in the running statistics (PyTorch's convention).
    trainable: Whether scale and bias are parameters. If not, they are in `batch_stats` beside the
      statistics, where neither gradient nor weight decay nor a moving average reaches them.
    dtype: Dtype of the result; parameters and statistics are float32.
  """

  epsilon: float = 1e-5
  momentum: float = 0.1
  trainable: bool = True
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
    """Normalises x [..., D] with the running statistics or with those of the batch."""
    features = x.shape[-1:]
    running_mean = self.variable("batch_stats", "mean", jnp.zeros, features)
    running_var = self.variable("batch_stats", "var", jnp.ones, features)
    if self.trainable:
      scale = self.param("scale", nn.initializers.ones, features)
      bias = self.param("bias", nn.initializers.zeros, features)
    else:
      scale = self.variable("batch_stats", "scale", jnp.ones, features).value
      bias = self.variable("batch_stats", "bias", jnp.zeros, features).value
    x = x.astype(jnp.float32)
    if use_running_average:
      mean, var = running_mean.value, running_var.value
    else:
      axes = tuple(range(x.ndim - 1))
      mean, var = jnp.mean(x, axes), jnp.var(x, axes)
      if self.is_mutable_collection("batch_stats") and not self.is_initializing():
        count = x.size // x.shape[-1]
        unbiased = var * (count / max(count - 1, 1))
        running_mean.value += self.momentum * (mean - running_mean.value)
        running_var.value += self.momentum * (unbiased - running_var.value)
    return ((x - mean) * (scale * jax.lax.rsqrt(var + self.epsilon)) + bias).astype(self.dtype)


class GroupNorm(nn.Module):
  """Group normalisation of [B, H, W, D], written as one multiply-add per pixel.

  The sums over pixels are taken per channel and grouped afterwards, on [B, D]: XLA compiles that
  to two vectorised passes, on a CPU two to nine times faster than `flax.linen.GroupNorm` (fewest
  channels, largest gain), which reduces over a reshaped [B, H, W, groups, D / groups].

  Attributes:
    groups: Number of groups; divides D.
    epsilon: Number added to the variance.
    scale_init: Initialiser of the scale; zeros silence a residual branch at the start.
    dtype: Dtype of the result; parameters and statistics are float32.
  """

  groups: int = 8
  epsilon: float = 1e-5
  scale_init: nn.initializers.Initializer = nn.initializers.ones
  dtype: DTypeLike = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Normalises each group of channels of each image of x [B, H, W, D] over its pixels."""
    channels = x.shape[-1]
    scale = self.param("scale", self.scale_init, (channels,))
    bias = self.param("bias", nn.initializers.zeros, (channels,))
    x = x.astype(jnp.float32)
    mean = self._over_groups(jnp.mean(x, (1, 2)))  # [B, D]
    var = jnp.maximum(self._over_groups(jnp.mean(x * x, (1, 2))) - mean * mean, 0)
    gain = scale * jax.lax.rsqrt(var + self.epsilon)
    shift = bias - mean * gain
    return (x * gain[:, None, None] + shift[:, None, None]).astype(self.dtype)

  def _over_groups(self, moments: jax.Array) -> jax.Array:
    """Replaces the moments [B, D] of channels by the mean over their group."""
    batch, channels = moments.shape
    grouped = moments.reshape(batch, self.groups, channels // self.groups)
    return jnp.repeat(grouped.mean(-1), channels // self.groups, axis=-1)
