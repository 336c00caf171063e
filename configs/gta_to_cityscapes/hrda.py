"""HRDA (Hoyer et al., ECCV 2022): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_hrda \
    --config=configs/gta_to_cityscapes/hrda.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 73.8 mIoU (README of HRDA). Ours: not run.

DAFormer with two resolutions: the method is DAFormer's, HRDA is the network's.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes", crop=1024)
  return published.finish(config, arg)
