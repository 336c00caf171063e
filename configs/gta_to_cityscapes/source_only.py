"""Training on the source alone: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_source_only \
    --config=configs/gta_to_cityscapes/source_only.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 45.6 mIoU (DAFormer's Table 1, from memory); with DeepLabV2 34.3 mIoU (from memory). Ours: not run.

Arguments: see `configs/published.py`, and network=daformer|deeplab.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.source_only(arg, "gta_to_cityscapes")
