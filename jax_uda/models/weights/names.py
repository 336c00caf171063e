"""Translates the names in public checkpoints to the reference names of `torch_names`.

Reference names are those of the released segmentation models: `backbone.` before the official names
of SegFormer, ResNet, DINOv2 or EfficientNet-Lite, `decode_head.` and `auxiliary_head.`. A file of an
encoder alone has no such prefixes, and a file of a whole training run has several networks.
"""

import collections
import re
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jax_uda.common import registry
from jax_uda.models.weights import confetii_names, vit_names
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
  # VFM-UDA; `token_masking` holds a second copy of the encoder's mask token. VFM-UDA++ has a head that
  # training alone needs, and keeps the frozen foundation model.
  Family(
    {"student": "network.", "teacher": "network_ema."},
    (
      "metrics.",
      "network.token_masking.",
      "network_ema.token_masking.",
      "network_feature_extractor.",
    ),
    ((r"^encoder\.", "backbone."), (r"^(upscale|out)\.", r"decode_head.\1.")),
  ),
  Family({"student": "student.", "teacher": "teacher."}, ()),
)

# The classifier of ImageNet beside an encoder, and what torchvision puts behind it to segment. The second
# compares VFM-UDA++'s maps in training, the last two are EfficientNet-Lite's.
CLASSIFIER = re.compile(
  r"(head|network_feature_head|fc|classifier|aux_classifier|_fc|_conv_head|_bn1)\."
)

# What training puts around a network or a part of it, anywhere in a name.
WRAPPERS = re.compile(r"(?<![^.])(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
# How often a moving average was updated; no weights.
AVERAGED = ("n_averaged", "steps")
# First words of names that say what a tensor is, beside the prefixes of `FAMILIES` and the names of
# `SCHEMES`. Any other word with which all names begin was put around the network.
ROOTS = {"backbone", "decode_head", "auxiliary_head", "aux_heads", "projects", "layer5", "layer6"}


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


class Translated(NamedTuple):
  """One network of a file.

  Attributes:
    tensors: Its tensors under their reference names.
    left_out: Names in the file of tensors that belong to the network and have no place in a `Segmentor`,
      above all those of the ImageNet classifier.
  """

  tensors: Tensors
  left_out: tuple[str, ...]


def to_reference(tensors: Mapping[str, np.ndarray], network: str = "student") -> Tensors:
  """Returns one network's tensors under their reference names; see `translate`."""
  return translate(tensors, network).tensors


def translate(
  tensors: Mapping[str, np.ndarray], network: str = "student", known: Collection[str] = ()
) -> Translated:
  """Finds one network in a file, and its tensors' reference names.

  What training puts around a network (`module.`, `_orig_mod.`) and any word with which all names begin is
  left out, unless it says what the tensors are. BatchNorm's batch counters, the other networks of a
  training run (`FAMILIES`) and the ImageNet classifier beside an encoder (`CLASSIFIER`) are left out.
  Every other name is kept, known or not: `torch_names.from_torch` complains about those that do not fit.

  Args:
    tensors: The content of the file.
    network: Which network of a training run to return: "student" or "teacher".
    known: Reference names of the network that is to be filled, if there is one: a word that they have in
      front, too, stays.

  Raises:
    SettingError: `network` is unknown, or the file has one network only.
    ValueError: The network is not in the file, or two tensors get the same name.
  """
  tensors = {n: t for n, t in tensors.items() if not n.endswith(COUNTER) and n not in AVERAGED}
  tensors = _renamed(tensors, ((WRAPPERS.pattern, ""), (r"^module\.", "")))
  tensors = confetii_names.segmentors(tensors) if confetii_names.is_run(tensors) else tensors
  prefixes = {family_prefix for family in FAMILIES for family_prefix in family.networks.values()}
  tensors = _without_common(tensors, ROOTS | {prefix[:-1] for prefix in prefixes}, known)
  tensors = _renamed(_one_network(tensors, network), ((r"^module\.", ""),))
  tensors = _without_common(tensors, ROOTS, known)
  is_left_out = lambda name: CLASSIFIER.match(name) and name not in known
  if any(name.startswith("layer6.") for name in tensors):  # AdaptSegNet's, whose fifth is auxiliary
    is_left_out = lambda name: name.startswith("layer5.") or CLASSIFIER.match(name)
  left_out = tuple(name for name in tensors if is_left_out(name))
  dropped = {*left_out, *AVERAGED}
  tensors = {name: tensor for name, tensor in tensors.items() if name not in dropped}
  if not any(name.startswith("backbone.") for name in tensors):
    tensors = _with_prefixes(tensors)
  encoder, rest = {}, {}
  for name, tensor in tensors.items():
    part, _, inner = name.partition(".")
    (encoder if part == "backbone" else rest)[inner if part == "backbone" else name] = tensor
  official = _official(encoder)
  if f"backbone.{vit_names.ADAPTED}" in known and vit_names.ADAPTED not in official:
    unused = [name for name in official if vit_names.UNUSED_BY_ADAPTED.fullmatch(name)]
    left_out += tuple(f"backbone.{name}" for name in unused)
    official = {name: tensor for name, tensor in official.items() if name not in unused}
  return Translated({f"backbone.{n}": t for n, t in official.items()} | rest, left_out)


def _without_common(tensors: Tensors, roots: Collection[str], known: Collection[str]) -> Tensors:
  """Leaves out the words with which all names begin, up to one that says what the tensors are."""
  while True:
    words = {name.partition(".")[0] for name in tensors}
    word = words.pop() if len(words) == 1 else ""
    if not word or word in roots or _scheme_of(tensors):
      return tensors
    shorter = {name.partition(".")[2]: tensor for name, tensor in tensors.items()}
    # What is named at the next level alone is a layer, and a network may have one module in front.
    if not all("." in name for name in shorter) or any(f".{word}." in f".{name}" for name in known):
      return tensors
    tensors = shorter


def of_translation(tensors: Mapping[str, np.ndarray], wanted: Collection[str] = ()) -> Tensors:
  """Returns the tensors of one of CUT's networks under their reference names.

  The constant filters of its resampling are left out: they are not parameters here.

  Args:
    tensors: The content of a file such as `latest_net_G.pth`, or of a run of CONFETII.
    wanted: Reference names of the network that is to be filled; they tell which one of a run it is.
  """
  if confetii_names.is_run(tensors):
    return confetii_names.translator(tensors, wanted)
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
  # The DeepLabV2 of SPCL and RCCR counts its decoder as a fifth layer, that of AdaptSegNet as a sixth.
  rules = (
    (r"^layer[56]\.conv2d_list\.(\d+)\.", r"decode_head.aspp_modules.\1.conv."),
    (r"^(?!decode_head\.)", "backbone."),
  )
  return _renamed(tensors, rules)


def _scheme_of(names: Collection[str]) -> Scheme | None:
  """The scheme that names an encoder's tensors so; None for the official names."""
  matching = (s for s in SCHEMES if any(re.fullmatch(s.signature, name) for name in names))
  return next(matching, None)


def _official(encoder: Tensors) -> Tensors:
  """Returns an encoder's tensors under their official names, joined and split as there."""
  vit = vit_names.to_official(encoder)
  if vit is not None:
    return vit
  scheme = _scheme_of(encoder)
  return _recut(_renamed(encoder, scheme.rules)) if scheme else encoder


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
