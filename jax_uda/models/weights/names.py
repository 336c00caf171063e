"""Translates the names in public checkpoints to the reference names of `torch_names`.

Reference names are those of the released segmentation models: `backbone.` before the official names
of SegFormer, ResNet, DINOv2 or EfficientNet-Lite, `decode_head.` and `auxiliary_head.`. A file of an
encoder alone has no such prefixes, and a file of a whole training run has several networks.
"""

import collections
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.common import registry
from jax_uda.models.weights import vit_names
from jax_uda.models.weights.torch_names import COUNTER

Tensors = dict[str, np.ndarray]
Rules = Sequence[tuple[str, str]]  # pattern and replacement, applied in order to each name


class Family(NamedTuple):
  """The names in a family of released training runs.

  Attributes:
    networks: Prefix of the student and prefix of its moving average.
    others: Prefixes of tensors that belong to neither network.
    rules: Rules that turn the names after the prefix into reference names.
  """

  networks: Mapping[str, str]
  others: tuple[str, ...]
  rules: Rules = ()


FAMILIES = (
  # DAFormer, HRDA, MIC, SePiCo; `imnet_model` is the frozen encoder of the feature distance.
  Family({"student": "model.", "teacher": "ema_model."}, ("imnet_model.",)),
  # VFM-UDA; `token_masking` holds a second copy of the encoder's mask token.
  Family(
    {"student": "network.", "teacher": "network_ema."},
    ("metrics.", "network.token_masking.", "network_ema.token_masking."),
    ((r"^encoder\.", "backbone."), (r"^(upscale|out)\.", r"decode_head.\1.")),
  ),
)

# The ImageNet classifier in files of an encoder alone. The last two are EfficientNet-Lite's.
CLASSIFIER = re.compile(r"(head|fc|classifier|_fc|_conv_head|_bn1)\.")


class Scheme(NamedTuple):
  r"""One way to name an encoder's tensors, and the rules that lead to the official names.

  A rule is a regular expression and its replacement. Three marks in a replacement ask for more than a
  new name; `_renamed` and `_recut` carry them out:

    <n>    counts from 1 instead of 0.
           `layer_norm.2.bias`, rule `layer_norm.(\d+).` -> `norm<\1>.`: becomes `norm3.bias`.
    [n]    is part n of a tensor; the parts are joined along the first axis.
           `…key.weight` [D, D] -> `attn.kv[0].weight` and `…value.weight` [D, D] ->
           `attn.kv[1].weight`: together become `attn.kv.weight` [2 D, D].
    q+kv   is a joint projection; the first third is split off.
           `in_proj_weight` [3 D, D] -> `attn.q+kv.weight`: becomes `attn.q.weight` [D, D] and
           `attn.kv.weight` [2 D, D].

  Attributes:
    signature: Regular expression of a name that no other scheme has.
    rules: Rules from the scheme's names to the official ones, applied in order.
  """

  signature: str
  rules: Rules


SCHEMES = (
  Scheme(  # Hugging Face's SegFormer
    r"(segformer\.)?encoder\.patch_embeddings\.0\.proj\.weight",
    (
      (r"^(segformer\.)?encoder\.", ""),
      (r"^patch_embeddings\.(\d+)\.layer_norm\.", r"patch_embed<\1>.norm."),
      (r"^patch_embeddings\.(\d+)\.", r"patch_embed<\1>."),
      (r"^layer_norm\.(\d+)\.", r"norm<\1>."),
      (r"^block\.(\d+)\.", r"block<\1>."),
      (r"\.layer_norm_([12])\.", r".norm\1."),
      (r"\.attention\.output\.dense\.", ".attn.proj."),
      (r"\.attention\.self\.layer_norm\.", ".attn.norm."),
      (r"\.attention\.self\.sr\.", ".attn.sr."),
      (r"\.attention\.self\.query\.", ".attn.q."),
      (r"\.attention\.self\.key\.", ".attn.kv[0]."),
      (r"\.attention\.self\.value\.", ".attn.kv[1]."),
      (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
    ),
  ),
  Scheme(  # MiT as converted by mmsegmentation
    r"layers\.0\.0\.projection\.weight",
    (
      (r"^layers\.(\d+)\.0\.projection\.", r"patch_embed<\1>.proj."),
      (r"^layers\.(\d+)\.0\.norm\.", r"patch_embed<\1>.norm."),
      (r"^layers\.(\d+)\.1\.(\d+)\.", r"block<\1>.\2."),
      (r"^layers\.(\d+)\.2\.", r"norm<\1>."),
      (r"\.attn\.attn\.in_proj_", ".attn.q+kv."),
      (r"\.attn\.attn\.out_proj\.", ".attn.proj."),
      (r"\.ffn\.layers\.0\.", ".mlp.fc1."),
      (r"\.ffn\.layers\.1\.", ".mlp.dwconv.dwconv."),
      (r"\.ffn\.layers\.4\.", ".mlp.fc2."),
    ),
  ),
  Scheme(  # Hugging Face's DINOv2
    r"(dinov2\.)?embeddings\.cls_token",
    (
      (r"^dinov2\.", ""),
      (r"^embeddings\.position_embeddings$", "pos_embed"),
      (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
      (r"^embeddings\.", ""),
      (r"^encoder\.layer\.(\d+)\.", r"blocks.\1."),
      (r"\.attention\.attention\.query\.", ".attn.qkv[0]."),
      (r"\.attention\.attention\.key\.", ".attn.qkv[1]."),
      (r"\.attention\.attention\.value\.", ".attn.qkv[2]."),
      (r"\.attention\.output\.dense\.", ".attn.proj."),
      (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
      (r"^layernorm\.", "norm."),
    ),
  ),
)


def to_reference(tensors: Mapping[str, np.ndarray], network: str = "student") -> Tensors:
  """Returns one network's tensors under their reference names.

  BatchNorm's batch counters, the other networks of a training run (`FAMILIES`) and the ImageNet
  classifier beside a bare encoder (`CLASSIFIER`) are left out. Every other name is kept, known or
  not: `torch_names.from_torch` complains about those that do not fit.

  Args:
    tensors: The content of the file.
    network: Which network of a training run to return: "student" or "teacher".

  Raises:
    SettingError: `network` is unknown, or the file has one network only.
    ValueError: The network is not in the file, or two tensors get the same name.
  """
  tensors = {n.removeprefix("module."): t for n, t in tensors.items() if not n.endswith(COUNTER)}
  tensors = _one_network(tensors, network)
  if not any(name.startswith("backbone.") for name in tensors):
    tensors = _with_prefixes({n: t for n, t in tensors.items() if not CLASSIFIER.match(n)})
  encoder, rest = {}, {}
  for name, tensor in tensors.items():
    part, _, inner = name.partition(".")
    (encoder if part == "backbone" else rest)[inner if part == "backbone" else name] = tensor
  return {f"backbone.{name}": t for name, t in _official(encoder).items()} | rest


def of_translation(tensors: Mapping[str, np.ndarray]) -> Tensors:
  """Returns the tensors of one of CUT's networks under their reference names.

  The constant filters of its resampling are left out: they are not parameters here.

  Args:
    tensors: The content of a file such as `latest_net_G.pth`.
  """
  return {n.removeprefix("module."): t for n, t in tensors.items() if not n.endswith(".filt")}


def _one_network(tensors: Tensors, network: str) -> Tensors:
  """Returns the tensors of one network of a training run, or all if the file has no training run."""
  for family in FAMILIES:
    prefix = registry.lookup(family.networks, network, ("network",))
    if not any(name.startswith(tuple(family.networks.values())) for name in tensors):
      continue
    if not any(name.startswith(prefix) for name in tensors):
      raise ValueError(f"the file holds no {network}: no name in it begins with {prefix!r}")
    unwanted = (*(set(family.networks.values()) - {prefix}), *family.others)
    kept = {n.removeprefix(prefix): t for n, t in tensors.items() if not n.startswith(unwanted)}
    return _renamed(kept, family.rules)
  if network != "student":
    raise registry.SettingError(
      "network", f"= {network!r}, but the file holds one network only: leave it at 'student'."
    )
  return tensors


def _with_prefixes(tensors: Tensors) -> Tensors:
  """Adds the reference's prefixes to the names of an encoder, with or without a decoder beside it."""
  # The DeepLabV2 of SPCL and RCCR counts its decoder as a fifth layer.
  rules = (
    (r"^layer5\.conv2d_list\.(\d+)\.", r"decode_head.aspp_modules.\1.conv."),
    (r"^(?!decode_head\.)", "backbone."),
  )
  return _renamed(tensors, rules)


def _official(encoder: Tensors) -> Tensors:
  """Returns an encoder's tensors under their official names, joined and split as there."""
  vit = vit_names.to_official(encoder)
  if vit is not None:
    return vit
  for scheme in SCHEMES:
    if any(re.fullmatch(scheme.signature, name) for name in encoder):
      return _recut(_renamed(encoder, scheme.rules))
  return encoder


def _recut(tensors: Tensors) -> Tensors:
  """Joins parts, splits joint projections, and turns 1x1 convolutions into linear maps."""
  parts, result = collections.defaultdict(dict), {}
  for name, tensor in tensors.items():
    if match := re.fullmatch(r"(.*)\[(\d)\](.*)", name):
      parts[match[1] + match[3]][match[2]] = tensor
    elif ".q+kv." in name:
      query, key_value = np.split(tensor, [len(tensor) // 3])
      result[name.replace(".q+kv.", ".q.")] = query
      result[name.replace(".q+kv.", ".kv.")] = key_value
    elif re.search(r"\.fc[12]\.weight$", name):
      result[name] = tensor.reshape(tensor.shape[:2])
    else:
      result[name] = tensor
  joined = {name: np.concatenate([ps[i] for i in sorted(ps)]) for name, ps in parts.items()}
  return result | joined


def _renamed(tensors: Tensors, rules: Rules) -> Tensors:
  """Applies the rules to all names."""
  renamed = {}
  for name, tensor in tensors.items():
    new_name = name
    for pattern, replacement in rules:
      new_name = re.sub(pattern, replacement, new_name)
    new_name = re.sub(r"<(\d+)>", lambda match: str(int(match[1]) + 1), new_name)
    if new_name in renamed:
      raise ValueError(f"two tensors of the file are both {new_name}, one of them as {name}")
    renamed[new_name] = tensor
  return renamed
