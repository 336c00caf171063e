"""Encoder, decoder and named heads put together."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.step.outputs import Outputs


class Segmentor(nn.Module):
  """A segmentation network whose extra heads are addressed by name.

  Every part is called with `train` (dropout and drop path, rng stream `dropout`) and
  `use_running_average` (BatchNorm); they are independent, because the EMA teacher runs without
  dropout on batch statistics.

  Attributes:
    encoder: `image [B,H,W,3] -> (features,)`, a tuple of maps [B, h_i, w_i, D_i], fine to coarse.
      Its class states `image_mean` and `image_std`.
    decoder: `features -> (logits [B,h,w,C], fused [B,h,w,D])`.
    heads: By name, `(features, fused) -> array`; the results are `Outputs.heads`.
  """

  encoder: nn.Module
  decoder: nn.Module
  heads: Mapping[str, nn.Module] = flax.core.FrozenDict()  # hashable, as modules are

  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    parts: Collection[str] | None = None,
    **inputs: Any,
  ) -> Outputs:
    """Runs the network on image [B,H,W,3], standardised with `image_mean` and `image_std`.

    `parts` names what runs behind the encoder: "decoder", or "map" where its fused map is enough, and
    heads; None means all. A part that is left out costs nothing, and its BatchNorm statistics stay as
    they are. Further `inputs` are the
    encoder's (`token_mask` of DINOv2).

    Raises:
      ValueError: The encoder does not know one of the `inputs`.
    """
    unknown = inputs.keys() - inspect.signature(type(self.encoder).__call__).parameters.keys()
    if unknown:
      raise ValueError(
        f"the method gives the network {', '.join(sorted(unknown))}, which "
        f"{type(self.encoder).__name__} does not take: set config.model.hrda for a crop_box, a "
        "config.model.encoder dinov2_… to hide tokens"
      )
    mode = {"train": train, "use_running_average": use_running_average}
    wanted = {"decoder", *self.heads} if parts is None else parts
    features = self.encoder(image, **mode, **inputs)
    logits = fused = None
    if "decoder" in wanted or "map" in wanted:
      logits, fused = self.decoder(features, **mode)
      logits = logits.astype(jnp.float32)
    heads = {
      name: head(features, fused, **mode) for name, head in self.heads.items() if name in wanted
    }
    return Outputs(logits, features, fused, heads)

  def encode(
    self, image: jax.Array, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, ...]:
    """The encoder's maps alone: `model.apply(variables, image, ..., method="encode")`."""
    return self.encoder(image, train=train, use_running_average=use_running_average)

  @property
  def image_mean(self) -> tuple[float, float, float]:
    """Mean colour the encoder expects to be subtracted, RGB in 0–255."""
    return self.encoder.image_mean

  @property
  def image_std(self) -> tuple[float, float, float]:
    """Standard deviation the encoder expects to be divided by, RGB in 0–255."""
    return self.encoder.image_std
