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
  """

  encoder: str
  file: str
  text: str
  licence: str = ""


KNOWN = (
  Known(
    r"mit_b\d",
    r"mit_b\d.*\.pth",
    "NAME.pth of SegFormer's authors",
    "NVIDIA Source Code License for SegFormer (non-commercial)",
  ),
  Known(r"dinov2_vit\w14", r"dinov2_vit\w14.*", "NAME_pretrain.pth of its authors", "Apache-2.0"),
  Known(
    r"efficientnet_lite0", r"efficientnet-lite0.*", "that of the extra `efficientnet`", "Apache-2.0"
  ),
  Known(r"resnet\d+_caffe", r"DeepLab_init.*", "DeepLab_init.pth of RCCR's code"),
  Known(r"(resnet\d+)_v1c", r"resnet\d+_v1c.*", "NAME-….pth of mmcv's model zoo"),
  Known(r"(resnet\d+)_torchvision.*", r"resnet\d+-.*", "torchvision's file of the same depth"),
)


def file_for(encoder: str) -> str:
  """The usual weight file of an encoder in words, for an error that asks for one."""
  for known in KNOWN:
    if re.fullmatch(known.encoder, encoder):
      return f"for {encoder} {known.text.replace('NAME', encoder)}, see docs/models.md"
  return f"for {encoder}, see docs/models.md"


def licence_of(path: pathlib.Path) -> str:
  """The licence of a file that is known by its name; else an empty text."""
  return next((k.licence for k in KNOWN if re.fullmatch(k.file, path.name)), "")
