"""SePiCo (Xie et al., TPAMI 2023): SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_sepico \
    --config=configs/synthia_to_cityscapes/sepico.py:source=/data/synthia,target=/data/cityscapes,weights=mit_b5.pth

Published: 64.3 mIoU16 on DAFormer's network, 58.1 on DeepLabV2 (DistCL; README of SePiCo). Ours: not run.

Arguments: see `configs/published.py`, variant=distribution|bank|prototype, and network=daformer|deeplab.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.sepico(arg, "synthia_to_cityscapes")
