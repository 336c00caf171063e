"""Names of plain Vision Transformers in checkpoints: DINOv2 with and without registers, DINOv3's graph.

Four layouts lead to one: the official names, but with `attn.q_bias` and `attn.v_bias` instead of DINOv3's
`attn.qkv.bias`, whose third of the keys is masked there. A file is recognised by its names and shapes:

  official        `storage_tokens` (DINOv3) or `register_tokens` (DINOv2)
  Hugging Face's  `layer.0.attention.q_proj.weight` (DINOv3); DINOv2's are in `names.SCHEMES`
  timm's          `blocks.0.gamma_1` (DINOv3, EUPE, LingBot-Vision) or `reg_token` (DINOv2)
"""

import re
from collections.abc import Mapping

import numpy as np

Tensors = dict[str, np.ndarray]

# Buffers, and parts that serve training alone.
UNUSED = re.compile(r".*\.bias_mask|rope_embed\.periods|(local_cls_norm|projectors)\..*")
# A tensor that ViT-Adapter adds, and what of a plain ViT's file an encoder with ViT-Adapter has no use for.
ADAPTED = "level_embed"
UNUSED_BY_ADAPTED = re.compile(r"mask_token|norm\.(weight|bias)")
RENAMED = (
  # Hugging Face's DINOv3; `lambda1`, `up_proj` and `down_proj` are no names of other layouts.
  (r"^(?:backbone\.|dinov3_vit\.|model\.)*(?=layer\.|embeddings\.|norm\.)", ""),
  (r"^embeddings\.register_tokens$", "storage_tokens"),
  (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
  (r"^embeddings\.", ""),
  (r"^layer\.(\d+)\.", r"blocks.\1."),
  (r"\.attention\.([qv])_proj\.bias$", r".attn.\1_bias"),
  (r"\.attention\.([qkv])_proj\.weight$", r".attn.\1.weight"),
  (r"\.attention\.o_proj\.", ".attn.proj."),
  (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
  # timm's
  (r"^reg_token$", "storage_tokens"),
  (r"\.gamma_([12])$", r".ls\1.gamma"),
)
# Which of two feed-forward nets a file has shows in the names beside: `up_proj` is fc1 in one and w2 in
# the other.
FEED_FORWARD = (
  ((r"\.mlp\.gate_proj\.", ".mlp.w1."), (r"\.mlp\.up_proj\.", ".mlp.w2."), (r"\.mlp\.down_proj\.", ".mlp.w3.")),
  ((r"\.mlp\.fc1_g\.", ".mlp.w1."), (r"\.mlp\.fc1_x\.", ".mlp.w2."), (r"\.mlp\.fc2\.", ".mlp.w3.")),
  ((r"\.mlp\.up_proj\.", ".mlp.fc1."), (r"\.mlp\.down_proj\.", ".mlp.fc2.")),
)  # fmt: skip


def to_official(tensors: Mapping[str, np.ndarray]) -> Tensors | None:
  """Returns the tensors of a plain ViT under their official names, or None if it is none.

  Args:
    tensors: Those of an encoder alone, without a prefix.
  """
  result = {name: tensor for name, tensor in tensors.items() if not UNUSED.fullmatch(name)}
  if _has(tensors, r"(.*\.)?layer\.0\.attention\.q_proj\.weight|blocks\.0\.gamma_1|storage_tokens"):
    return _with_mask_token(_of_dinov3(result))
  if "reg_token" in tensors:
    result = _of_timm_dinov2(result)
  if ADAPTED in tensors:
    return result  # it has neither mask token nor last norm
  if "patch_embed.proj.weight" in result and "blocks.0.ls1.gamma" in result:
    return _with_mask_token(result)
  return None


def _has(tensors: Mapping[str, np.ndarray], pattern: str) -> bool:
  return any(re.fullmatch(pattern, name) for name in tensors)


def _of_dinov3(tensors: Tensors) -> Tensors:
  """Renames DINOv3's tensors, joins queries, keys and values, and drops the biases of the keys."""
  tensors = _renamed(_renamed(tensors, _feed_forward(tensors)), RENAMED)
  result = {}
  for name, tensor in tensors.items():
    block, _, leaf = name.partition(".attn.")
    thirds = [f"{block}.attn.{part}.weight" for part in "qkv"]
    if leaf == "qkv.bias" and len(tensor) % 3 == 0:
      query, _, value = np.split(tensor, 3)
      result |= {f"{block}.attn.q_bias": query, f"{block}.attn.v_bias": value}
    elif name in thirds and all(third in tensors for third in thirds):
      if name == thirds[0]:
        joined = np.concatenate([tensors[third] for third in thirds])
        result[f"{block}.attn.qkv.weight"] = joined
    else:
      result[name] = tensor
  for name in list(result):  # timm's build without biases of queries and values
    if name.endswith(".attn.qkv.weight"):
      zeros = np.zeros(result[name].shape[1], np.float32)
      for bias in ("q_bias", "v_bias"):
        result.setdefault(name.replace("qkv.weight", bias), zeros)
  return result


def _of_timm_dinov2(tensors: Tensors) -> Tensors:
  """Gives the cls token a position, zero, where timm has added it into the token itself."""
  tensors = _renamed(tensors, ((r"^reg_token$", "register_tokens"),))
  positions = tensors.get("pos_embed")
  if positions is None or round(positions.shape[1] ** 0.5) ** 2 != positions.shape[1]:
    return tensors
  none = np.zeros((1, 1, positions.shape[-1]), positions.dtype)
  return tensors | {"pos_embed": np.concatenate([none, positions], 1)}


def _with_mask_token(tensors: Tensors) -> Tensors:
  """Gives the mask token the shape [1, D]; one that the file lacks, as timm's do, is zero."""
  dim = len(tensors["norm.bias"]) if "norm.bias" in tensors else 0
  token = tensors.get("mask_token", np.zeros((1, dim), np.float32))
  return tensors | {"mask_token": token.reshape(1, -1)}


def _feed_forward(tensors: Tensors) -> tuple[tuple[str, str], ...]:
  """The first group of rules that begins with a name of the file; none for official names."""
  for rules in FEED_FORWARD:
    if any(re.search(rules[0][0], name) for name in tensors):
      return rules
  return ()


def _renamed(tensors: Tensors, rules: tuple[tuple[str, str], ...]) -> Tensors:
  renamed = {}
  for name, tensor in tensors.items():
    new_name = name
    for pattern, replacement in rules:
      new_name = re.sub(pattern, replacement, new_name)
    if new_name in renamed:
      raise ValueError(f"two tensors of the file are both {new_name}, one of them as {name}")
    renamed[new_name] = tensor
  return renamed
