"""HRDA: a segmentor that looks at the image twice (Hoyer et al., 2022b).

The *context* is the whole image at half its size. The *detail* is the image at full size: a random
crop of it in training, overlapping windows in inference and for pseudo-labels. Both share encoder and
decoder. A scale attention, computed from the context, says where the detail counts. Names of modules
follow the released checkpoints. Goldens: `base/hrda_tiny`; with CLUDA's feature weighter
`cluda/hrda_head`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from jax_uda.common import registry
from jax_uda.models.decoders.segformer import SegFormerHead
from jax_uda.models.hrda import fusion as hrda_fusion
from jax_uda.models.protocols import Decoder, Features, Size
from jax_uda.models.segmentor import Segmentor
from jax_uda.ops import boxes as hrda_boxes
from jax_uda.ops import resize
from jax_uda.step.outputs import Outputs

# Boxes, or a function of the context's logits, the size of the image and the size of the crop.
CropBox = jax.Array | Callable[[jax.Array, Size, Size], jax.Array]


class MultiScaleDecoder(nn.Module):
  """The decoder that both resolutions share, and two decoders of the context alone.

  Attributes:
    head: Decoder of a single resolution.
    scale_attention: Decoder whose logits are the attention, one channel per class or a single one.
    feat_weighter: Decoder whose one logit weighs each pixel in CLUDA's contrast; or None.
  """

  head: Decoder
  scale_attention: Decoder
  feat_weighter: Decoder | None = None

  def decode(
    self, features: Features, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, jax.Array]:
    """Returns logits [B,h,w,C] in float32 and the fused map [B,h,w,D]."""
    logits, fused = self.head(features, train=train, use_running_average=use_running_average)
    return logits.astype(jnp.float32), fused

  def attend(
    self, features: Features, size: Size, *, train: bool, use_running_average: bool
  ) -> jax.Array:
    """Returns the attention before its sigmoid at `size`, that of the logits: [B, *size, C or 1]."""
    mode = {"train": train, "use_running_average": use_running_average}
    return resize.bilinear(self.scale_attention(features, **mode)[0], size)

  def weigh(
    self, features: Features, size: Size, *, train: bool, use_running_average: bool
  ) -> jax.Array:
    """Returns the feature weight before its sigmoid at `size`, that of the logits: [B, *size, 1]."""
    assert self.feat_weighter is not None
    mode = {"train": train, "use_running_average": use_running_average}
    return resize.bilinear(self.feat_weighter(features, **mode)[0], size)

  @property
  def dtype(self) -> DTypeLike:
    """Compute dtype of the shared decoder."""
    return self.head.dtype


class HRDA(Segmentor):
  """The network, a segmentor whose decoder is a `MultiScaleDecoder`.

  The logits have the decoder's stride, as those of any segmentor. The features and the fused map,
  which named heads and other losses read, are those of the context: a cell covers twice as many pixels
  per side.

  A pass with `train` has these further heads in its outputs:
    hr_logits: Logits of the detail crop, [B,h,w,C].
    hr_fused: Fused map of the detail crop, [B,h,w,D].
    hr_box: Detail crop (y1, y2, x1, x2) in pixels of the image, [B,4] int32.
    lr_logits: Contribution of the context to the logits, [B,h,w,C] (`hrda.fusion.Fused.context`).
    feature_weight: Feature weight before its sigmoid, [B,h,w,1]; only with a feature weighter.

  Attributes:
    crop_size: Size of the detail crop and of the windows in pixels.
    fusion: Order of scaling and resizing the context, see `hrda.fusion`.
  """

  decoder: MultiScaleDecoder
  crop_size: Size = (512, 512)
  fusion: hrda_fusion.Order = "scale_first"

  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    outputs: Collection[str] | None = None,
    crop_box: CropBox | None = None,
    **inputs: Any,
  ) -> Outputs:
    """Runs the network.

    Args:
      image: [B,H,W,3] floats, RGB in [0, 1]. Its sides and those of the crop are multiples of twice the
        decoder's stride.
      train: Whether dropout is on, and a detail crop replaces the windows.
      use_running_average: Whether BatchNorm uses its running statistics.
      outputs: Names of the outputs to compute, see `Segmentor`. Without "decoder" the network does not
        look at the detail, and "fused" is the fused map of the context.
      crop_box: The training crop, [4] for the whole batch or [B,4], in multiples of twice the decoder's
        stride; or a function that returns such boxes from the context's logits [B,h,w,C] (without
        gradient), the size of the image and the size of the crop. None draws one box from the rng
        stream `crop`.
      **inputs: Further inputs; the network takes none.

    Returns:
      The outputs of a `Segmentor`, with further heads in training.

    Raises:
      ValueError: A size does not fit, there is neither a box nor a stream to draw it from, or the
        encoder would get further inputs.
    """
    network = f"HRDA around {type(self.encoder).__name__}"
    self._check_inputs(inputs, ("crop_box",), network)
    mode = {"train": train, "use_running_average": use_running_average}
    wanted = {"decoder", *self.heads} if outputs is None else outputs
    image = self._standardise(image)
    features = self._encode_context(image, mode, {})
    logits, fused, heads = None, None, {}
    if "decoder" in wanted:
      context, fused = self.decoder.decode(features, **mode)
      logits, heads = self._add_detail(image, features, context, crop_box, mode)
    elif "fused" in wanted:
      _, fused = self.decoder.decode(features, **mode)
    for name, head in self.heads.items():
      if name in wanted:
        heads[name] = head(features, fused, **mode)
    return Outputs(logits, features, fused, heads)

  def encode(self, image: jax.Array, *, train: bool, use_running_average: bool) -> Features:
    """Returns the encoder's maps of the context, without an adapter."""
    mode = {"train": train, "use_running_average": use_running_average}
    return self._encode_context(self._standardise(image), mode, self._without_adapter())

  def _encode_context(
    self, image: jax.Array, mode: Mapping[str, bool], inputs: Mapping[str, Any]
  ) -> Features:
    """Returns the encoder's maps of a standardised image at half its size."""
    half = (image.shape[1] // 2, image.shape[2] // 2)
    return self._features(resize.bilinear(image, half), mode, inputs)

  def _add_detail(
    self,
    image: jax.Array,
    features: Features,
    context: jax.Array,
    crop_box: CropBox | None,
    mode: Mapping[str, bool],
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the logits of context and detail, and the further heads of the pass."""
    stride, size = self._stride(image, context), (context.shape[1], context.shape[2])
    if mode["train"]:
      box = self._crop_box(crop_box, image, context, stride)
      logits, heads = self._with_crop(image, features, context, box, stride, mode)
    else:
      detail = self._windows(image, stride, mode)
      attention = self.decoder.attend(features, size, **mode)
      logits, heads = hrda_fusion.fuse(context, detail, attention, order=self.fusion).logits, {}
    if self.decoder.feat_weighter is not None and (mode["train"] or self.is_initializing()):
      heads["feature_weight"] = self.decoder.weigh(features, size, **mode)
    return logits, heads

  def _with_crop(
    self,
    image: jax.Array,
    features: Features,
    context: jax.Array,
    box: jax.Array,
    stride: int,
    mode: Mapping[str, bool],
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the logits with the detail inside the box alone, and the heads of a training pass."""
    crop = hrda_boxes.crop(image, box, self.crop_size)
    detail, detail_fused = self.decoder.decode(self._features(crop, mode, {}), **mode)
    attention = self.decoder.attend(features, (context.shape[1], context.shape[2]), **mode)
    fused = hrda_fusion.fuse(context, detail, attention, box=box // stride, order=self.fusion)
    return fused.logits, {
      "hr_logits": detail,
      "hr_fused": detail_fused,
      "hr_box": jnp.broadcast_to(box, (image.shape[0], 4)),
      "lr_logits": fused.context,
    }

  def _windows(self, image: jax.Array, stride: int, mode: Mapping[str, bool]) -> jax.Array:
    """Returns logits [B, H / stride, W / stride, C] of the detail, averaged over all windows."""
    batch, height, width, _ = image.shape
    boxes = hrda_boxes.half_overlapping((height, width), self.crop_size)
    # The windows of an image are neighbours in the batch, so that a sharded batch stays sharded.
    crops = jnp.stack([image[:, y1:y2, x1:x2] for y1, y2, x1, x2 in boxes], 1)
    crops = crops.reshape(-1, *crops.shape[2:])
    detail, _ = self.decoder.decode(self._features(crops, mode, {}), **mode)
    detail = detail.reshape(batch, len(boxes), *detail.shape[1:])
    total = jnp.zeros((batch, height // stride, width // stride, detail.shape[-1]), detail.dtype)
    count = np.zeros((*total.shape[1:3], 1), np.float32)
    for i, box in enumerate(boxes):
      y1, y2, x1, x2 = (edge // stride for edge in box)
      total = total.at[:, y1:y2, x1:x2].add(detail[:, i])
      count[y1:y2, x1:x2] += 1
    return total / count

  def _stride(self, image: jax.Array, context: jax.Array) -> int:
    """Computes the side of a decoder cell in pixels from the context's logits."""
    stride = image.shape[1] // (2 * context.shape[1])
    cells = tuple(2 * stride * cell for cell in context.shape[1:3])
    if cells != image.shape[1:3] or any(side % (2 * stride) for side in self.crop_size):
      raise ValueError(
        f"HRDA on images {image.shape[1:3]} with detail crops {tuple(self.crop_size)}: all sides "
        f"must be multiples of {2 * stride}, twice the decoder's stride"
      )
    return stride

  def _crop_box(
    self, crop_box: CropBox | None, image: jax.Array, context: jax.Array, stride: int
  ) -> jax.Array:
    """Returns the training crop, [4] or [B, 4] int32."""
    size = image.shape[1], image.shape[2]
    if callable(crop_box):
      box = crop_box(jax.lax.stop_gradient(context), size, self.crop_size)
      return jnp.asarray(box, jnp.int32)
    if crop_box is not None:
      return jnp.asarray(crop_box, jnp.int32)
    if not self.has_rng("crop"):
      raise ValueError("HRDA trains on a random crop: give rngs={'crop': key}, or a crop_box")
    # At stride 4, as in the reference, crops lie at multiples of 8. The reference keeps 8 at stride 8,
    # where crops at odd multiples are half a context cell away from their mask.
    return hrda_boxes.draw(self.make_rng("crop"), size, self.crop_size, 2 * stride)


def wrap(
  segmentor: Segmentor,
  *,
  crop_size: Size = (512, 512),
  fusion: hrda_fusion.Order = "scale_first",
  class_attention: bool = True,
  attention: str = "segformer",
  feature_weighter: bool = False,
  attention_options: Mapping[str, Any] | None = None,
) -> HRDA:
  """Builds an HRDA around the encoder and decoder of a segmentor.

  Args:
    segmentor: A network at one resolution.
    crop_size: Size of the detail crop and of the windows in pixels.
    fusion: Order of scaling and resizing the context, see `hrda.fusion`; CLUDA's is "resize_first".
    class_attention: Whether every class has an attention map of its own.
    attention: The decoder that computes the attention: "segformer", or "decoder" for one of the same
      kind and with the same options as the segmentor's (DeepLabV2 in HRDA's code).
    feature_weighter: Whether to add CLUDA's feature weighter.
    attention_options: Keyword arguments of the `SegFormerHead`s that compute attention and feature
      weight; by default they have 256 channels.

  Raises:
    SettingError: The fusion or the kind of attention is unknown.
  """
  registry.lookup(hrda_fusion.RESIZE_FIRST, fusion, ("fusion",))
  registry.lookup(dict.fromkeys(("segformer", "decoder")), attention, ("attention",))
  decoder = segmentor.decoder
  settings: dict[str, Any] = {
    "embed_dim": 256,
    "channels": 256,
    "dtype": decoder.dtype,
    **(attention_options or {}),
  }
  maps = decoder.num_classes if class_attention else 1
  scale_attention: Any = SegFormerHead(num_classes=maps, **settings)
  if attention == "decoder":
    scale_attention = decoder.clone(num_classes=maps, parent=None)  # pyright: ignore[reportAttributeAccessIssue]
  return HRDA(
    encoder=segmentor.encoder,
    decoder=MultiScaleDecoder(
      head=decoder,
      scale_attention=scale_attention,
      feat_weighter=SegFormerHead(num_classes=1, **settings) if feature_weighter else None,
    ),
    heads=segmentor.heads,
    image_mean=segmentor.image_mean,
    image_std=segmentor.image_std,
    freeze=segmentor.freeze,
    crop_size=(crop_size[0], crop_size[1]),
    fusion=fusion,
  )
