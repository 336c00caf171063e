"""Licences of the public weights of our encoders, as far as we know, and what is free where access is not."""

from collections.abc import Mapping
from typing import NamedTuple


class Licence(NamedTuple):
  """The terms of an encoder's public weights.

  Attributes:
    name: The licence, for the record of a run and for exported files.
    instead: What an error adds if the weights are not there: who may get them, and which are free.
  """

  name: str
  instead: str = ""


_FREE = (
  "LingBot-Vision (lingbot_vits16, lingbot_vitb16, lingbot_vitl16: the same network) and DINOv2 with "
  "registers (dinov2_vits14_reg, dinov2_vitb14_reg, dinov2_vitl14_reg) are Apache-2.0 and free to download"
)

# By the beginning of an encoder's name.
LICENCES: Mapping[str, Licence] = {
  "mit_": Licence("NVIDIA Source Code License, non-commercial"),
  "dinov2_": Licence("Apache-2.0"),
  "dinov3_": Licence(
    "DINOv3 License (2025-08-19); it applies to derivative works",
    f"Meta gives DINOv3's weights to those whose request it accepts; {_FREE}",
  ),
  "eupe_": Licence(
    "FAIR Noncommercial Research License",
    f"EUPE's weights are for non-commercial research; {_FREE}",
  ),
  "lingbot_": Licence("Apache-2.0"),
  "efficientnet_lite0": Licence("Apache-2.0"),
}


def licence_of(encoder: str) -> Licence:
  """Returns the licence of an encoder's public weights; its texts are empty if we know none."""
  return next((value for key, value in LICENCES.items() if encoder.startswith(key)), Licence(""))


def with_alternatives(message: str, encoder: str) -> str:
  """Adds to an error about a weight file what is free, if the encoder's own weights are not."""
  instead = licence_of(encoder).instead
  return f"{message}. {instead}." if instead else message
