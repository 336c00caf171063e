"""Encoder, decoder and named heads put together."""

import inspect
from collections.abc import Collection, Mapping
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp

from jax_uda.ops import pixels
from jax_uda.step.outputs import Outputs


class Segmentor(nn.Module):
  """A segmentation network whose extra heads are addressed by name.

  Every part is called with `train` (dropout and drop path, rng stream `dropout`) and
  `use_running_average` (BatchNorm); they are independent, because the EMA teacher runs without
  dropout on batch statistics.

  Attributes:
    encoder: `image [B,H,W,3] -> (features,)`, a tuple of maps [B, h_i, w_i, D_i], fine to coarse.
    decoder: `features -> (logits [B,h,w,C], fused [B,h,w,D])`.
    heads: By name, `(features, fused) -> array`; the results are `Outputs.heads`.
    image_mean: The color that is subtracted from an image, RGB in [0, 1].
    image_std: What an image is then divided by, in the same units. The defaults are for images that
      are standardised already; `models.build` sets those that the encoder's weights expect.
  """

  encoder: nn.Module
  decoder: nn.Module
  heads: Mapping[str, nn.Module] = flax.core.FrozenDict()  # hashable, as modules are
  image_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
  image_std: tuple[float, ...] = (1.0, 1.0, 1.0)

  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    parts: Collection[str] | None = None,
    **inputs: Any,
  ) -> Outputs:
    """Runs the network on image [B,H,W,3], RGB in [0, 1].

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
    features = self.encoder(self._standardise(image), **mode, **inputs)
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
    image = self._standardise(image)
    return self.encoder(image, train=train, use_running_average=use_running_average)

  def _standardise(self, image: jax.Array) -> jax.Array:
    """The image as the encoder takes it, float32."""
    return pixels.standardise(image, self.image_mean, self.image_std)
