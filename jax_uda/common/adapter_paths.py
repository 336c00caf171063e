"""Which parameters belong to an adapter of an encoder: their names say so everywhere."""

import re

# `…/attn/qkv/lora_a` and `…/lora_b` of LoRA, `encoder/reins/…` of Rein, and what ViT-Adapter adds to a ViT.
PATTERN = (
  r"/lora_[ab]$|^encoder/reins/"
  r"|^encoder/(level_embed$|spm/|interactions_\d+/|up/|map_norm\d/)"
)


def is_adapter(path: str) -> bool:
  """Whether the parameter at `path`, such as `encoder/blocks_0/…/kernel`, is an adapter's."""
  return re.search(PATTERN, path) is not None
