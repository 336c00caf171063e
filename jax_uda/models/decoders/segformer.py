"""The all-MLP decoder of SegFormer (Xie et al., 2021): one 1x1 convolution fuses the levels.

HRDA's scale attention and CLUDA's feature weighter are the same network with fewer channels (256),
and with attention maps instead of logits. Goldens: `base/hrda_attention_head`,
`cluda/feat_weighter`.
"""

import flax.linen as nn

from jax_uda.models.decoders.level_fusion import LevelFusionHead
from jax_uda.models.layers.conv_module import ConvModule


class SegFormerHead(LevelFusionHead):
  """The decoder; see `LevelFusionHead`.

  With four levels of MiT-B5 and 19 classes it has 3,164,947 parameters. The reference counts 2,451
  more: a classifier of its base class that it never calls.
  """

  embed_dim: int = 768
  channels: int = 768

  def _fusion(self, name: str) -> nn.Module:
    return ConvModule(self.channels, dtype=self.dtype, name=name)
