"""HRDA's fusion of the logits of two resolutions (Hoyer et al., 2022b, section 3.2).

A learned attention a decides at every pixel how much the detail counts:

  logits = up(a) * detail + up((1 - a) * context)         "scale_first", HRDA
  logits = up(a) * detail + (1 - up(a)) * up(context)     "resize_first", CLUDA

Golden: `base/hrda_fusion`.
"""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from jax_uda.common import registry
from jax_uda.ops import boxes, resize

Order = Literal["scale_first", "resize_first"]
RESIZE_FIRST = {"scale_first": False, "resize_first": True}


class Fused(NamedTuple):
  """The fused logits and the contribution of the context.

  Attributes:
    logits: Fused logits [B, 2h, 2w, C] float32.
    context: (1 - a) * context logits, [B, h, w, C]; the reference's low-resolution loss reads it.
  """

  logits: jax.Array
  context: jax.Array


def fuse(
  context: jax.Array,
  detail: jax.Array,
  attention_logits: jax.Array,
  *,
  box: jax.Array | None = None,
  order: Order = "scale_first",
) -> Fused:
  """Fuses the logits of context and detail at twice the size of `context`.

  Args:
    context: Logits of the image at half its size, [B, h, w, C].
    detail: Logits of the image at full size, [B, 2h, 2w, C], or of its crop at `box`.
    attention_logits: Attention before its sigmoid, [B, h, w, C or 1].
    box: Crop (y1, y2, x1, x2) in cells of the fused map, [4] or [B, 4]; None: there is no crop.
      Outside it the attention is 0. Its mask is interpolated like the attention, so that the crop's
      border is soft.
    order: Which comes first for the context, scaling or resizing; see the formulas above.

  Raises:
    SettingError: The order is unknown.
  """
  resize_first = registry.lookup(RESIZE_FIRST, order, ("order",))
  small = context.shape[1], context.shape[2]
  large = (2 * small[0], 2 * small[1])
  attention = jax.nn.sigmoid(attention_logits.astype(jnp.float32))
  if box is not None:
    attention = attention * boxes.inside(box // 2, small)[..., None]
    detail = boxes.insert(detail, box, large)
  scaled = (1 - attention) * context
  large_attention = resize.bilinear(attention, large)
  if resize_first:
    whole = (1 - large_attention) * resize.bilinear(context, large)
  else:
    whole = resize.bilinear(scaled, large)
  return Fused(large_attention * detail + whole, scaled)
