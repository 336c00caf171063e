"""DACS: SYNTHIA -> Cityscapes.

  python main.py --workdir=runs/synthia_to_cityscapes_dacs \
    --config=configs/synthia_to_cityscapes/dacs.py:source=/data/synthia,target=/data/cityscapes,weights=resnet101_v1c.pth

Published: 48.3 mIoU16. Ours: not run.

As DAFormer's code runs it: its optimizer, schedule and sizes; no rare-class sampling.

Arguments: see `configs/published.py`.
"""

from configs import published_methods


def get_config(arg: str = ""):
  return published_methods.dacs(arg, "synthia_to_cityscapes")
