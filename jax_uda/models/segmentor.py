"""Encoder, decoder and named heads put together."""

from collections.abc import Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict
from jax.typing import DTypeLike

from jax_uda.models.protocols import Decoder, Encoder, Features, Head, inputs_of
from jax_uda.ops import pixels
from jax_uda.step.outputs import Outputs


class Segmentor(nn.Module):
  """A segmentation network whose extra heads are addressed by name.

  `jax_uda.models.protocols` says what it asks of its parts, and what the switches `train` and
  `use_running_average` mean.

  Attributes:
    encoder: Network from a standardised image to feature maps.
    decoder: Network from the feature maps to logits and one fused map.
    heads: Further networks by name, on the feature maps and the fused map.
    image_mean: Color that is subtracted from an image, RGB in [0, 1].
    image_std: Number by which each channel is then divided, in the same units. The defaults leave an
      image as it is; `models.build` sets the statistics that the encoder's weights expect.
    freeze: "encoder": the encoder's weights are constants, but not its adapter's, and it always runs in
      evaluation mode. A training step then keeps one copy of them for all networks. Empty: nothing is.
  """

  encoder: Encoder
  decoder: Decoder
  heads: Mapping[str, Head] = FrozenDict()  # hashable, as modules are
  image_mean: tuple[float, ...] = (0.0, 0.0, 0.0)
  image_std: tuple[float, ...] = (1.0, 1.0, 1.0)
  freeze: str = ""

  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    outputs: Collection[str] | None = None,
    **inputs: Any,
  ) -> Outputs:
    """Runs the network.

    Args:
      image: [B,H,W,3] floats, RGB in [0, 1].
      train: Whether dropout and drop path are on (rng stream `dropout`).
      use_running_average: Whether BatchNorm uses its running statistics.
      outputs: Names of the outputs to compute beside the features: "decoder" for logits and fused map,
        "fused" for the fused map alone, and heads; None means all. What is left out costs nothing, and
        its BatchNorm statistics do not change.
      **inputs: Further inputs of the encoder, such as `mask_ratio` of DINOv2.

    Returns:
      The features and the outputs that were asked for; the others are None or missing.

    Raises:
      ValueError: The encoder does not take one of the `inputs`.
    """
    self._check_inputs(inputs, inputs_of(self.encoder), type(self.encoder).__name__)
    mode = {"train": train, "use_running_average": use_running_average}
    wanted = {"decoder", *self.heads} if outputs is None else outputs
    features = self._features(self._standardise(image), mode, inputs)
    logits = fused = None
    if "decoder" in wanted or "fused" in wanted:
      logits, fused = self.decoder(features, **mode)
      logits = logits.astype(jnp.float32) if "decoder" in wanted else None
    heads = {
      name: head(features, fused, **mode) for name, head in self.heads.items() if name in wanted
    }
    return Outputs(logits, features, fused, heads)

  def encode(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the encoder's maps without an adapter: `model.apply(…, method="encode")`."""
    mode = {"train": train, "use_running_average": use_running_average}
    return self._features(self._standardise(image), mode, self._without_adapter())

  def _features(
    self, image: jax.Array, mode: Mapping[str, bool], inputs: Mapping[str, Any]
  ) -> Features:
    """Returns the encoder's maps of a standardised image."""
    if self.freeze:
      mode = {"train": False, "use_running_average": True}
    return self.encoder(image, **mode, **inputs)

  def _without_adapter(self) -> dict[str, bool]:
    """The input of the encoder that switches its adapter off, if it has one."""
    return {"adapted": False} if getattr(self.encoder, "adapter", None) else {}

  @property
  def dtype(self) -> DTypeLike:
    """Compute dtype of the decoder, and of the heads that a method adds."""
    return self.decoder.dtype

  def _standardise(self, image: jax.Array) -> jax.Array:
    """Returns the image as the encoder expects it, float32."""
    return pixels.standardise(image, self.image_mean, self.image_std)

  @staticmethod
  def _check_inputs(inputs: Collection[str], known: Collection[str], network: str) -> None:
    """Refuses inputs that a network does not take."""
    unknown = sorted(set(inputs) - set(known))
    if unknown:
      raise ValueError(
        f"the method gives the network {', '.join(unknown)}, which {network} does not take (it takes "
        f"{', '.join(known) or 'the image alone'}): choose another network, see docs/models.md, or "
        "another method"
      )
