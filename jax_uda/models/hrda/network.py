"""HRDA: a segmentor that looks at the image twice (Hoyer et al., 2022b).

The *context* is the whole image at half its size, the *detail* the image itself: a random crop of it
in training, overlapping windows in inference and for pseudo-labels. Encoder and decoder are shared,
a scale attention read off the context says where the detail counts. Names of modules follow the
released checkpoints. Golden: `base/hrda_tiny`; with CLUDA's feature weighter `cluda/hrda_head`.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jax_uda.models.decoders.segformer import SegFormerHead
from jax_uda.models.hrda import fusion as hrda_fusion
from jax_uda.models.segmentor import Segmentor
from jax_uda.ops import boxes as hrda_boxes
from jax_uda.ops import resize
from jax_uda.step.outputs import Outputs

CropBox = jax.Array | Callable[[jax.Array, tuple[int, int], tuple[int, int]], jax.Array]


class MultiScaleDecoder(nn.Module):
  """The decoder that both resolutions share, and the heads on the context.

  Attributes:
    head: The decoder, as `Segmentor.decoder`.
    scale_attention: The same interface, with one channel a class or a single one.
    feat_weighter: The same with one channel: CLUDA's weight of each pixel of its contrast; or None.
  """

  head: nn.Module
  scale_attention: nn.Module
  feat_weighter: nn.Module | None = None

  def decode(self, features: tuple[jax.Array, ...], **mode: bool) -> tuple[jax.Array, jax.Array]:
    """Maps fine to coarse -> (logits [B,h,w,C] float32, fused [B,h,w,D])."""
    logits, fused = self.head(features, **mode)
    return logits.astype(jnp.float32), fused

  def attend(
    self, features: tuple[jax.Array, ...], size: tuple[int, int], **mode: bool
  ) -> jax.Array:
    """Attention before its sigmoid, at the size of the logits: [B, *size, C or 1]."""
    return resize.bilinear(self.scale_attention(features, **mode)[0], size)

  def weigh(
    self, features: tuple[jax.Array, ...], size: tuple[int, int], **mode: bool
  ) -> jax.Array:
    """The feature weight before its sigmoid, at the size of the logits: [B, *size, 1]."""
    return resize.bilinear(self.feat_weighter(features, **mode)[0], size)


class HRDA(Segmentor):
  """The network; `decoder` is a `MultiScaleDecoder`, the rest as in `Segmentor`.

  Of the outputs, `logits` have the decoder's stride as usual; `features` and `fused`, which named
  heads and other losses read, are those of the context: one cell covers twice as many pixels.

  A pass with `train` adds these heads:
    hr_logits: [B,h,w,C] of the detail crop.
    hr_fused: [B,h,w,D], its fused map.
    hr_box: [B,4] int32, the crop (y1, y2, x1, x2) in pixels of the image.
    lr_logits: [B,h,w,C] of the context, as far as it contributes (`hrda_fusion.Fused.context`).
    feature_weight: [B,h,w,1], before the sigmoid; only with a feature weighter.

  Attributes:
    crop_size: (height, width) of the detail crop and of the windows, in pixels.
    fusion: See `hrda_fusion`.
  """

  crop_size: tuple[int, int] = (512, 512)
  fusion: hrda_fusion.Order = "scale_first"

  def __call__(
    self,
    image: jax.Array,
    *,
    train: bool,
    use_running_average: bool,
    parts: Collection[str] | None = None,
    crop_box: CropBox | None = None,
    **inputs: Any,
  ) -> Outputs:
    """Runs the network on image [B,H,W,3], RGB in [0, 1].

    Args:
      image: Its sides, and the crop's, are multiples of twice the decoder's stride.
      train: Dropout and a detail crop instead of windows.
      use_running_average: Of BatchNorm.
      parts: As in `Segmentor`; without "decoder" the detail is not looked at, and "map" is the fused
        map of the context.
      crop_box: The training crop: [4] for the batch or [B,4], multiples of twice the decoder's
        stride; or a function of the context's logits [B,h,w,C], constant, the image's size and the
        crop's, that gives such boxes. None draws one box from the rng stream `crop`.
      **inputs: None is known.

    Raises:
      ValueError: a size does not fit, there is neither a box nor a stream to draw it from, or the
        encoder is to get further inputs.
    """
    if inputs:
      raise ValueError(
        f"the method gives the network {', '.join(sorted(inputs))}, which HRDA does not hand on to "
        "its encoder: leave out config.model.hrda, or choose another config.method"
      )
    mode = {"train": train, "use_running_average": use_running_average}
    wanted = {"decoder", *self.heads} if parts is None else parts
    image = self._standardise(image)
    features = self._encode_context(image, **mode)
    logits, fused, heads = None, None, {}
    if "decoder" in wanted or "map" in wanted:
      context, fused = self.decoder.decode(features, **mode)
    if "decoder" in wanted:
      stride = self._stride(image, context)
      if train:
        box = self._crop_box(crop_box, image, context, stride)
        logits, heads = self._with_crop(image, features, context, box, stride, mode)
      else:
        detail = self._windows(image, stride, mode)
        attention = self.decoder.attend(features, context.shape[1:3], **mode)
        logits = hrda_fusion.fuse(context, detail, attention, order=self.fusion).logits
      if self.decoder.feat_weighter is not None and (train or self.is_initializing()):
        heads["feature_weight"] = self.decoder.weigh(features, context.shape[1:3], **mode)
    for name, head in self.heads.items():
      if name in wanted:
        heads[name] = head(features, fused, **mode)
    return Outputs(logits, features, fused, heads)

  def encode(
    self, image: jax.Array, *, train: bool, use_running_average: bool
  ) -> tuple[jax.Array, ...]:
    """The encoder's maps of the context alone."""
    return self._encode_context(
      self._standardise(image), train=train, use_running_average=use_running_average
    )

  def _encode_context(self, image: jax.Array, **mode: bool) -> tuple[jax.Array, ...]:
    """The encoder's maps of a standardised image at half its size."""
    half = (image.shape[1] // 2, image.shape[2] // 2)
    context = resize.bilinear(image, half)
    return self.encoder(context, **mode)

  def _with_crop(
    self,
    image: jax.Array,
    features: tuple[jax.Array, ...],
    context: jax.Array,
    box: jax.Array,
    stride: int,
    mode: Mapping[str, bool],
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The fused logits with the detail in the box alone, and the heads of a training pass."""
    crop = hrda_boxes.crop(image, box, self.crop_size)
    detail, detail_fused = self.decoder.decode(self.encoder(crop, **mode), **mode)
    attention = self.decoder.attend(features, context.shape[1:3], **mode)
    fused = hrda_fusion.fuse(context, detail, attention, box=box // stride, order=self.fusion)
    return fused.logits, {
      "hr_logits": detail,
      "hr_fused": detail_fused,
      "hr_box": jnp.broadcast_to(box, (image.shape[0], 4)),
      "lr_logits": fused.context,
    }

  def _windows(self, image: jax.Array, stride: int, mode: Mapping[str, bool]) -> jax.Array:
    """Logits [B, H / stride, W / stride, C] of the detail, averaged over all windows."""
    batch, *size, _ = image.shape
    boxes = hrda_boxes.half_overlapping(tuple(size), self.crop_size)
    # An image's windows are neighbours in the batch: a batch sharded over devices stays so.
    crops = jnp.stack([image[:, y1:y2, x1:x2] for y1, y2, x1, x2 in boxes], 1)
    crops = crops.reshape(-1, *crops.shape[2:])
    detail, _ = self.decoder.decode(self.encoder(crops, **mode), **mode)
    detail = detail.reshape(batch, len(boxes), *detail.shape[1:])
    total = jnp.zeros((batch, *(side // stride for side in size), detail.shape[-1]), detail.dtype)
    count = np.zeros((*total.shape[1:3], 1), np.float32)
    for i, box in enumerate(boxes):
      y1, y2, x1, x2 = (edge // stride for edge in box)
      total = total.at[:, y1:y2, x1:x2].add(detail[:, i])
      count[y1:y2, x1:x2] += 1
    return total / count

  def _stride(self, image: jax.Array, context: jax.Array) -> int:
    """Pixels of a decoder cell, from the context's logits."""
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
    """The training crop, [4] or [B, 4]."""
    if callable(crop_box):
      box = crop_box(jax.lax.stop_gradient(context), image.shape[1:3], self.crop_size)
      return jnp.asarray(box, jnp.int32)
    if crop_box is not None:
      return jnp.asarray(crop_box, jnp.int32)
    if not self.has_rng("crop"):
      raise ValueError("HRDA trains on a random crop: give rngs={'crop': key}, or a crop_box")
    # The reference's multiples of 8 at stride 4. At stride 8 it keeps them, and crops at odd
    # multiples lie half a context cell beside their mask.
    key, size = self.make_rng("crop"), image.shape[1:3]
    return hrda_boxes.draw(key, size, self.crop_size, 2 * stride)


def wrap(
  segmentor: Segmentor,
  *,
  crop_size: tuple[int, int] = (512, 512),
  fusion: hrda_fusion.Order = "scale_first",
  class_attention: bool = True,
  feature_weighter: bool = False,
  attention_options: Mapping[str, Any] | None = None,
) -> HRDA:
  """HRDA on the encoder and decoder of a segmentor.

  Args:
    segmentor: A network at one resolution.
    crop_size: See `HRDA`.
    fusion: See `hrda_fusion`; CLUDA's is "resize_first".
    class_attention: One attention map a class instead of one for all.
    feature_weighter: Add CLUDA's.
    attention_options: Of the `SegFormerHead` that attention and weighter are, by default with 256
      channels.
  """
  decoder = segmentor.decoder
  settings = {
    "embed_dim": 256,
    "channels": 256,
    "dtype": decoder.dtype,
    **(attention_options or {}),
  }
  maps = decoder.num_classes if class_attention else 1
  return HRDA(
    encoder=segmentor.encoder,
    decoder=MultiScaleDecoder(
      head=decoder,
      scale_attention=SegFormerHead(num_classes=maps, **settings),
      feat_weighter=SegFormerHead(num_classes=1, **settings) if feature_weighter else None,
    ),
    heads=segmentor.heads,
    image_mean=segmentor.image_mean,
    image_std=segmentor.image_std,
    crop_size=tuple(crop_size),
    fusion=fusion,
  )
