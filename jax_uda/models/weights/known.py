"""Public weight files: which one an encoder starts from, and the licence of those known by name."""

import pathlib
import re
from typing import NamedTuple


class Known(NamedTuple):
  """Weights of an encoder for ImageNet or without labels, as their authors offer them.

  Attributes:
    encoder: Regular expression of our names of the encoder.
    file: Regular expression of the names of its files.
    text: The file in words.
    licence: Its licence, as far as we know; empty where we do not.
    instead: What an error adds if the file is not there: who may get it, and which are free.
  """

  encoder: str
  file: str
  text: str
  licence: str = ""
  instead: str = ""


_FREE = (
  "LingBot-Vision (lingbot_vits16, lingbot_vitb16, lingbot_vitl16: the same network) and DINOv2 with "
  "registers (dinov2_vits14_reg, dinov2_vitb14_reg, dinov2_vitl14_reg) are Apache-2.0 and free to download"
)

KNOWN = (
  Known(
    r"mit_b\d",
    r"mit_b\d.*\.pth",
    "NAME.pth of SegFormer's authors",
    "NVIDIA Source Code License for SegFormer (non-commercial)",
  ),
  Known(
    r"dinov2_vit\w14", r"dinov2_vit\w14(?!_reg).*", "NAME_pretrain.pth of its authors", "Apache-2.0"
  ),
  Known(
    r"dinov2_vit\w14_adapter",
    r"dinov2_vit\w14_adapter.*",
    "the adapter pre-training of VFM-UDA++'s authors",
    "MIT",
    instead=(
      "Without the adapter pre-training, the file of DINOv2 without registers, NAME_pretrain.pth, fills the "
      "ViT and leaves the adapter random"
    ),
  ),
  Known(
    r"dinov2_vit\w14_reg",
    r"dinov2_vit\w14_reg.*",
    "NAME4_pretrain.pth of its authors",
    "Apache-2.0",
  ),
  Known(
    r"dinov3_.*",
    r"dinov3_.*|vit_(?!.*eupe).*_dinov3.*",
    "that of its authors, who give it on request",
    "DINOv3 License (2025-08-19); it applies to derivative works",
    f"Meta gives DINOv3's weights to those whose request it accepts; {_FREE}",
  ),
  Known(
    r"eupe_.*",
    r".*eupe.*",
    "timm's vit_tiny_patch16_dinov3_qkvb.eupe_lvd1689m",
    "FAIR Noncommercial Research License",
    f"EUPE's weights are for non-commercial research; {_FREE}",
  ),
  Known(
    r"lingbot_.*", r".*lingbot.*", "timm's vit_…_patch16_lingbot of the same size", "Apache-2.0"
  ),
  Known(
    r"efficientnet_lite0", r"efficientnet-lite0.*", "that of the extra `efficientnet`", "Apache-2.0"
  ),
  Known(r"resnet\d+_caffe", r"DeepLab_init.*", "DeepLab_init.pth of RCCR's code"),
  Known(r"(resnet\d+)_v1c", r"resnet\d+_v1c.*", "NAME-….pth of mmcv's model zoo"),
  Known(r"(resnet\d+)_torchvision.*", r"resnet\d+-.*", "torchvision's file of the same depth"),
)


def file_for(encoder: str) -> str:
  """The usual weight file of an encoder in words, for an error that asks for one."""
  known = _of_encoder(encoder)
  text = f" {known.text.replace('NAME', encoder)}" if known else ""
  return f"for {encoder}{text}, see docs/models.md"


def licence_of(path: pathlib.Path) -> str:
  """The licence of a file that is known by its name; else an empty text."""
  return next((k.licence for k in KNOWN if re.fullmatch(k.file, path.name)), "")


def licence_of_encoder(encoder: str) -> str:
  """The licence of an encoder's public weights; an empty text if we know none."""
  known = _of_encoder(encoder)
  return known.licence if known else ""


def with_alternatives(message: str, encoder: str) -> str:
  """Adds to an error about a weight file what is free, if the encoder's own weights are not."""
  known = _of_encoder(encoder)
  return f"{message.rstrip('.')}. {known.instead}." if known and known.instead else message


def _of_encoder(encoder: str) -> Known | None:
  return next((known for known in KNOWN if re.fullmatch(known.encoder, encoder)), None)
