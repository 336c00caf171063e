"""Names in the released training runs of CONFETII, which hold a translator beside the segmentation networks."""

import re
from collections.abc import Collection, Mapping

import numpy as np

Tensors = dict[str, np.ndarray]

STAGES = 4  # of an encoder; those without prototypes have projections that were never trained
# What is no part of a segmentor, beside copies of the translator inside the networks.
OTHERS = ("prototypes.", "affine_convs.", "cut_encoder.", "cut_proj.")
COPIES = re.compile(r"(ema_|imnet_)?model\.auxiliary_head\.0\.")
# The networks of the translator: prefixes in the file, with those that our names have.
NETWORKS = (
  {"cut_encoder.": "", "model.auxiliary_head.0.decoder.": "decoder."},
  {"model.auxiliary_head.0.discriminator.": ""},
  {"cut_proj.": "cut_proj."},
)


def is_run(tensors: Collection[str]) -> bool:
  """Whether the names are those of such a run."""
  return any(name.startswith("cut_encoder.") for name in tensors)


def segmentors(tensors: Mapping[str, np.ndarray]) -> Tensors:
  """The segmentation networks of a run, each with its projections, named as in other runs' files.

  Projections are counted from the first level that has class activation maps. What belongs to the
  translator, and the prototypes, are left out.
  """
  first = STAGES - len(
    {name for name in tensors if re.match(r"model\..*conv_cam\.\d+\.0\.bias$", name)}
  )
  result = {}
  for name, tensor in tensors.items():
    if name.startswith(OTHERS) or COPIES.match(name):
      continue
    match = re.fullmatch(r"(ema_)?projects\.(\d+)\.(.*)", name)
    if not match:
      result[name] = tensor
    elif int(match[2]) >= first:
      result[f"{match[1] or ''}model.projects.{int(match[2]) - first}.{match[3]}"] = tensor
  return result


def translator(tensors: Mapping[str, np.ndarray], wanted: Collection[str]) -> Tensors:
  """The network of a run's translator that has the `wanted` names; the one nearest to them if none has."""
  networks = []
  for prefixes in NETWORKS:
    network = {
      ours + name.removeprefix(theirs): tensor
      for name, tensor in tensors.items()
      for theirs, ours in prefixes.items()
      if name.startswith(theirs) and not name.endswith(".filt")
    }
    networks.append(network)
  return max(networks, key=lambda network: len(network.keys() & set(wanted)))
