"""SePiCo (Xie et al., TPAMI 2023): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_sepico \
    --config=configs/gta_to_cityscapes/sepico.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 70.3 mIoU on DAFormer's network, 61.0 on DeepLabV2 (DistCL; README of SePiCo). Ours: not run.

Arguments: see `configs/published.py`, variant=distribution|bank|prototype, and network=daformer|deeplab.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.sepico(arg, "gta_to_cityscapes")
