"""CLUDA (Vayyat et al., 2022) on HRDA: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_cluda \
    --config=configs/gta_to_cityscapes/cluda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 74.4 mIoU (abstract). Ours: not run.

What differs: the entropy of the detail crops is that of the student's pass on the target, not of one more pass
of the main head with a dropout and a BatchNorm update of its own.

Arguments: see `configs/published.py`, and pixel_order=interleaved (the published code) or aligned (what it meant).
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.cluda(arg, "gta_to_cityscapes")
