"""MIC (Hoyer et al., CVPR 2023): GTA5 -> Cityscapes.

  python main.py --workdir=runs/gta_to_cityscapes_mic \
    --config=configs/gta_to_cityscapes/mic.py:source=/data/gta5,target=/data/cityscapes,weights=mit_b5.pth

Published: 75.9 mIoU (README of MIC). Ours: not run.

Arguments: see `configs/published.py`.
"""

from configs import published


def get_config(arg: str = ""):
  config, arg = published.start(arg, "gta_to_cityscapes", crop=1024)
  config.method.name = "mic"
  config.method.mask_block = 64
  return published.finish(config, arg)
