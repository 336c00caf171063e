"""Networks by name. A new encoder or decoder is one file and one line of a table here."""

import functools
from collections.abc import Mapping
from typing import Any

import flax
import flax.linen as nn
import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.models.decoders.daformer import DAFormerHead
from jax_uda.models.decoders.dlv2 import DLV2Head
from jax_uda.models.decoders.light import LightDecoder
from jax_uda.models.decoders.segformer import SegFormerHead
from jax_uda.models.decoders.vit import ViTHead
from jax_uda.models.encoders import dinov2, mit, resnet
from jax_uda.models.encoders.compact import CompactEncoder
from jax_uda.models.encoders.efficientnet_lite import EfficientNetLite
from jax_uda.models.hrda import network as hrda_lib
from jax_uda.models.segmentor import Segmentor

# Called with the options and the compute dtype.
ENCODERS = {
  "compact": CompactEncoder,
  **{name: functools.partial(dinov2.DINOv2, **sizes) for name, sizes in dinov2.VARIANTS.items()},
  "efficientnet_lite0": EfficientNetLite,
  **{name: functools.partial(mit.MixTransformer, **sizes) for name, sizes in mit.VARIANTS.items()},
  **{name: functools.partial(resnet.ResNet, **sizes) for name, sizes in resnet.VARIANTS.items()},
}

# Called with the number of classes, the options and the compute dtype.
DECODERS = {
  "daformer": DAFormerHead,
  "dlv2": DLV2Head,
  "dlv2red": functools.partial(DLV2Head, dilations=(6, 12)),
  "light": LightDecoder,
  "segformer": SegFormerHead,
  "vit_head": ViTHead,
}


def build(
  *,
  encoder: str,
  decoder: str,
  num_classes: int,
  heads: Mapping[str, nn.Module] | None = None,
  encoder_options: Mapping[str, Any] | None = None,
  decoder_options: Mapping[str, Any] | None = None,
  hrda: Mapping[str, Any] | None = None,
  dtype: Any = jnp.float32,
) -> Segmentor:
  """A segmentor from names.

  Args:
    encoder: A key of `ENCODERS`.
    decoder: A key of `DECODERS`.
    num_classes: Channels of the logits.
    heads: Further heads by name, see `Segmentor`.
    encoder_options: Keyword arguments of the encoder, to depart from its defaults.
    decoder_options: Keyword arguments of the decoder.
    hrda: Keyword arguments of `jax_uda.models.hrda.network.wrap`, to look at the image at two resolutions;
      None: at one.
    dtype: Compute dtype; parameters, BatchNorm statistics and logits stay float32.

  Raises:
    ValueError: a name or an option is unknown.
  """
  make_encoder = registry.lookup(ENCODERS, encoder, "model.encoder")
  make_decoder = registry.lookup(DECODERS, decoder, "model.decoder")
  network = registry.call(
    make_encoder, "model.encoder_options", dtype=dtype, **(encoder_options or {})
  )
  segmentor = Segmentor(
    encoder=network,
    decoder=registry.call(
      make_decoder,
      "model.decoder_options",
      num_classes=num_classes,
      dtype=dtype,
      **(decoder_options or {}),
    ),
    heads=flax.core.FrozenDict(heads or {}),
    image_mean=network.image_mean,
    image_std=network.image_std,
  )
  return (
    segmentor if hrda is None else registry.call(hrda_lib.wrap, "model.hrda", segmentor, **hrda)
  )
