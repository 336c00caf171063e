"""How HRDA joins the logits of two resolutions (Hoyer et al., 2022b, section 3.2).

A learned attention a decides at every pixel how much of the detail is used:

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


class Fused(NamedTuple):
  """The fused logits, and what the context alone contributes.

  Attributes:
    logits: [B, 2h, 2w, C] float32.
    context: (1 - a) * context logits, [B, h, w, C]; the reference's low-resolution loss acts on it.
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
  """Logits of the whole image at twice the size of `context`.

  Args:
    context: [B, h, w, C] logits of the image at half its size.
    detail: Logits of the image at full size, [B, 2h, 2w, C], or of its crop at `box`.
    attention_logits: [B, h, w, C or 1], before the sigmoid.
    box: (y1, y2, x1, x2) of the crop in cells of the fused map, [4] or [B, 4]. Outside it the
      attention is 0; its mask is interpolated like the attention, so the crop's border is soft.
    order: What happens first to the context, see above.
  """
  resize_first = registry.lookup(
    {"scale_first": False, "resize_first": True}, order, "model.hrda.fusion"
  )
  small = context.shape[1:3]
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
