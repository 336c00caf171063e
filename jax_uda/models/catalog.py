"""Networks by name.

A new encoder or decoder is one file and one line of a table here, or a module of one's own without a
line: `encoder="my_module:MyEncoder"`. `jax_uda.models.protocols` says what it must do.
"""

import functools
from collections.abc import Callable, Mapping

import jax.numpy as jnp
from flax.core import FrozenDict
from jax.typing import DTypeLike

from jax_uda.common import registry
from jax_uda.models.decoders.daformer import DAFormerHead
from jax_uda.models.decoders.dlv2 import DLV2Head
from jax_uda.models.decoders.light import LightDecoder
from jax_uda.models.decoders.pyramid import PyramidHead
from jax_uda.models.decoders.segformer import SegFormerHead
from jax_uda.models.decoders.vit import ViTHead
from jax_uda.models.encoders import dinov2, dinov3, mit, resnet, vit_adapter
from jax_uda.models.encoders.compact import CompactEncoder
from jax_uda.models.encoders.efficientnet_lite import EfficientNetLite
from jax_uda.models.hrda import network as hrda_lib
from jax_uda.models.layers.lora import LoRA
from jax_uda.models.layers.rein import Rein
from jax_uda.models.protocols import Decoder, Encoder, Head, Options
from jax_uda.models.segmentor import Segmentor

# Called with the options and the compute dtype.
ENCODERS: dict[str, Callable[..., Encoder]] = {
  "compact": CompactEncoder,
  **{name: functools.partial(dinov2.DINOv2, **sizes) for name, sizes in dinov2.SIZES.items()},
  **{
    name: functools.partial(vit_adapter.ViTAdapter, **sizes)
    for name, sizes in vit_adapter.SIZES.items()
  },
  **{name: functools.partial(dinov3.DINOv3, **sizes) for name, sizes in dinov3.SIZES.items()},
  "efficientnet_lite0": EfficientNetLite,
  **{name: functools.partial(mit.MixTransformer, **sizes) for name, sizes in mit.SIZES.items()},
  **{name: functools.partial(resnet.ResNet, **sizes) for name, sizes in resnet.SIZES.items()},
}

# Called with the number of classes, the options and the compute dtype.
DECODERS: dict[str, Callable[..., Decoder]] = {
  "daformer": DAFormerHead,
  "dlv2": DLV2Head,
  "dlv2red": functools.partial(DLV2Head, dilations=(6, 12)),
  "light": LightDecoder,
  "pyramid": PyramidHead,
  "segformer": SegFormerHead,
  "vit_head": ViTHead,
}

# Called with the options. What they build is the option `adapter` of a plain Vision Transformer.
ADAPTERS: dict[str, Callable[..., LoRA | Rein]] = {"lora": LoRA, "rein": Rein}


def build(
  *,
  encoder: str,
  decoder: str,
  num_classes: int,
  heads: Mapping[str, Head] | None = None,
  encoder_options: Options | None = None,
  decoder_options: Options | None = None,
  adapter: Options | None = None,
  freeze: str | None = None,
  hrda: Options | None = None,
  dtype: DTypeLike = jnp.float32,
) -> Segmentor:
  """Builds a segmentor from names.

  Args:
    encoder: A key of `ENCODERS`, or "module:name" for an encoder outside the package.
    decoder: A key of `DECODERS`, or "module:name".
    num_classes: Number of channels of the logits.
    heads: Further heads by name, see `Segmentor`.
    encoder_options: Keyword arguments of the encoder that differ from its defaults.
    decoder_options: Keyword arguments of the decoder that differ from its defaults.
    adapter: A key of `ADAPTERS` as `name`, and its options: `dict(name="lora", rank=16)`; for plain
      Vision Transformers.
    freeze: "encoder": its weights stay as they are, see `Segmentor`; "": everything is trained. None
      freezes the encoder if it has an adapter.
    hrda: Keyword arguments of `jax_uda.models.hrda.network.wrap` for a network that looks at the image
      at two resolutions; None: at one.
    dtype: Compute dtype; parameters, BatchNorm statistics and logits are float32.

  Raises:
    SettingError: A name or an option is unknown; its path begins with the argument.
  """
  make_encoder = registry.choose(ENCODERS, encoder, ("encoder",))
  make_decoder = registry.choose(DECODERS, decoder, ("decoder",))
  if freeze is None:
    freeze = "encoder" if adapter else ""
  registry.lookup({"": 0, "encoder": 0}, freeze, ("freeze",))
  network_options = {**(encoder_options or {}), **_adapter_option(encoder, make_encoder, adapter)}
  with registry.within("encoder_options"):
    network = registry.call(make_encoder, (), dtype=dtype, **network_options)
  with registry.within("decoder_options"):
    segmentor = Segmentor(
      encoder=network,
      decoder=registry.call(
        make_decoder, (), num_classes=num_classes, dtype=dtype, **(decoder_options or {})
      ),
      heads=FrozenDict(heads or {}),
      image_mean=network.image_mean,
      image_std=network.image_std,
      freeze=freeze,
    )
  if hrda is None:
    return segmentor
  with registry.within("hrda"):
    return registry.call(hrda_lib.wrap, (), segmentor, **hrda)


def _adapter_option(
  encoder: str, make_encoder: Callable[..., Encoder], adapter: Options | None
) -> Options:
  """The option `adapter` of the encoder that the setting describes; none without a setting."""
  if not adapter:
    return {}
  options = dict(adapter)
  name = options.pop("name", None)
  if name is None:
    raise registry.SettingError(("adapter", "name"), f"is missing. Known: {', '.join(ADAPTERS)}.")
  make = registry.lookup(ADAPTERS, name, ("adapter", "name"))
  cls = make_encoder.func if isinstance(make_encoder, functools.partial) else make_encoder
  if not hasattr(cls, "adapter"):
    raise registry.SettingError(
      "adapter",
      f"= {name!r} is for plain Vision Transformers (dinov2_…, dinov3_…, eupe_…, lingbot_…), not for "
      f"{encoder}: leave it empty, or choose another encoder.",
    )
  if "targets" in options:
    options["targets"] = tuple(options["targets"])
  return {"adapter": registry.call(make, "adapter", **options)}


def tiny(name: str) -> Options:
  """Returns the options that make an encoder or decoder as cheap as possible.

  Tests and smoke runs use them. They are the attribute `tiny` of the class, and empty if it has none.

  Args:
    name: A key of `ENCODERS` or `DECODERS`, or "module:name".

  Raises:
    SettingError: There is no such encoder or decoder.
  """
  make = registry.choose({**ENCODERS, **DECODERS}, name, ("name",))
  return getattr(make.func if isinstance(make, functools.partial) else make, "tiny", {})
