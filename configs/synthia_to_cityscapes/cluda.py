"""CLUDA (Vayyat et al., 2022) on HRDA: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_cluda \
    --config=configs/synthia_to_cityscapes/cluda.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 67.2 mIoU16, 66.8 in the revised version (abstracts). Ours: not run.

What differs: the entropy of the detail crops is that of the student's pass on the target, not of one more pass
of the main head with a dropout and a BatchNorm update of its own.

Arguments: see `configs/published.py`, and pixel_order=interleaved (the published code) or aligned (what it meant).
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.cluda(arg, "synthia_to_cityscapes")
