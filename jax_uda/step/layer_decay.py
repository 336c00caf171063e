"""Layer-wise learning-rate decay: the deeper a block of a plain Vision Transformer, the faster it learns.

With L blocks, decay d and the encoder's multiplier m, two rules are in use:

  rule       decoder, heads, adapters   last norm   block i (from 0)   tokens, positions, patch embedding
  "layers"   1                          m           m d^(L - i)        m d^(L + 1)      BEiT, MAE, DINOv2
  "blocks"   1                          m           m d^(L - 1 - i)    m d^L            VFM-UDA++

Weight decay is that of the parameter groups. Golden: `base/layer_decay`.
"""

import re
from typing import Literal, NamedTuple

from jax_uda.common.adapter_paths import is_adapter
from jax_uda.common.registry import SettingError, lookup

# By rule: what the exponent of block i adds to L - i.
SHIFTS = {"layers": 0, "blocks": -1}
BLOCK = re.compile(r"^encoder/blocks_(\d+)/")
STEM = re.compile(
  r"^encoder/(patch_embed/|(cls_token|pos_embed|mask_token|register_tokens|storage_tokens)$)"
)


class LayerDecay(NamedTuple):
  """The decay of an encoder whose blocks are `encoder/blocks_0`, `encoder/blocks_1`, ….

  Attributes:
    decay: Ratio of the learning rates of two neighbouring blocks, in (0, 1].
    depth: Number of blocks, L.
    rule: "layers" or "blocks".
    multiplier: Multiplies all of the encoder's learning rates.
  """

  decay: float
  depth: int
  rule: Literal["layers", "blocks"] = "layers"
  multiplier: float = 1.0

  def factor(self, path: str) -> float:
    """The factor of the learning rate of the parameter at `path`, `encoder/blocks_0/…/kernel`.

    Raises:
      SettingError: The rule is unknown, or the path is that of a block behind the last one.
    """
    shift = lookup(SHIFTS, self.rule, "rule")
    if is_adapter(path):
      return 1.0
    if match := BLOCK.search(path):
      if int(match[1]) >= self.depth:
        raise SettingError("depth", f"= {self.depth}, but the encoder has the parameter {path}.")
      return self.multiplier * self.decay ** (self.depth - int(match[1]) + shift)
    if STEM.search(path):
      return self.multiplier * self.decay ** (self.depth + 1 + shift)
    return self.multiplier if path.startswith("encoder/norm/") else 1.0
