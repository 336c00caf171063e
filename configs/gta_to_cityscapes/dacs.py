"""DACS: GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_dacs \
    --config=configs/gta_to_cityscapes/dacs.py:source=/data/gta5,target=/data/cityscapes,weights=resnet101_v1c.pth

Published: 52.1 mIoU; 54.2 in DAFormer's code (from memory). Ours: not run.

As DAFormer's code runs it: its optimizer, schedule and sizes; no rare-class sampling.

Arguments: see `configs/published.py`.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.dacs(arg, "gta_to_cityscapes")
